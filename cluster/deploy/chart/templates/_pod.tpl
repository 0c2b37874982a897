{{- define "keysteward.podSpec" -}}
serviceAccountName: {{ include "keysteward.fullname" . }}
enableServiceLinks: false # their variables would be taken for flags
{{- with .Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
securityContext: {{- include "keysteward.podSecurity" . | nindent 2 }}
# The sleep of preStop, handing the leadership over (--shutdown-timeout, 10 s), finishing requests, and
# time to spare.
terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
{{- include "keysteward.placement" . }}
containers:
  - name: keysteward
    image: {{ include "keysteward.image" . | quote }}
    imagePullPolicy: {{ .Values.image.pullPolicy }}
    args: {{- include "keysteward.arguments" . | nindent 6 }}
    envFrom:
      - configMapRef: {name: {{ include "keysteward.fullname" . }}-config}
    env:
      - {name: POD_NAME, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
      - {name: POD_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
      {{- with include "keysteward.goMemLimit" . }}
      - {name: GOMEMLIMIT, value: {{ . }}}
      {{- end }}
      {{- with .Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    ports:
      - {name: api, containerPort: 8200}
      - {name: raft, containerPort: 8300}
    # A pod that ends is taken from the Services while it still listens.
    lifecycle: {preStop: {sleep: {seconds: 2}}}
    {{- include "keysteward.probes" . | nindent 4 }}
    resources: {{- toYaml .Values.resources | nindent 6 }}
    securityContext: {{- include "keysteward.containerSecurity" . | nindent 6 }}
    volumeMounts: {{- include "keysteward.mounts" . | nindent 6 }}
volumes: {{- include "keysteward.volumes" . | nindent 2 }}
{{- end -}}

{{- define "keysteward.arguments" -}}
- server
- --name=$(POD_NAME)
- --data-dir=/var/lib/keysteward
- --peers={{ include "keysteward.peers" . }}
- --api-addr=:8200
- --advertise-api=https://$(POD_NAME).{{ include "keysteward.peersDomain" . }}:8200
- --raft-addr=:8300
- --advertise-raft=$(POD_NAME).{{ include "keysteward.peersDomain" . }}:8300
- --tls-cert=/var/run/keysteward/api-tls/tls.crt
- --tls-key=/var/run/keysteward/api-tls/tls.key
- --tls-client-ca=/var/run/keysteward/api-tls/ca.crt
- --raft-tls-cert=/var/run/keysteward/raft-tls/tls.crt
- --raft-tls-key=/var/run/keysteward/raft-tls/tls.key
- --raft-tls-ca=/var/run/keysteward/raft-tls/ca.crt
{{- if not .Values.withoutKek }}
- --seal=file:/var/run/keysteward/kek/kek
{{- end }}
{{- range .Values.extraSeal }}
- --seal={{ . }}
{{- end }}
{{- if .Values.secrets.tokenHashes }}
- --token-hashes=/var/run/keysteward/token-hashes/token-hashes.json
{{- end }}
- --kubernetes=in-cluster
- --statefulset=$(POD_NAMESPACE)/{{ include "keysteward.fullname" . }}
{{- range .Values.extraArgs }}
- {{ . | quote }}
{{- end }}
{{- end -}}

{{- /* Alive means that the process answers. Only readiness knows of leaders: a cluster that has none is
mended by what runs, and by no restart. */ -}}
{{- define "keysteward.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: api, scheme: HTTPS}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 300 # a long log is applied first
livenessProbe:
  httpGet: {path: /livez, port: api, scheme: HTTPS}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: 6
readinessProbe:
  httpGet: {path: /readyz, port: api, scheme: HTTPS}
  periodSeconds: 3
  timeoutSeconds: 5
  failureThreshold: 2
{{- end -}}

{{- define "keysteward.mounts" -}}
- {name: data, mountPath: /var/lib/keysteward}
- {name: tmp, mountPath: /tmp}
- {name: api-tls, mountPath: /var/run/keysteward/api-tls, readOnly: true}
- {name: raft-tls, mountPath: /var/run/keysteward/raft-tls, readOnly: true}
{{- if not .Values.withoutKek }}
- {name: kek, mountPath: /var/run/keysteward/kek, readOnly: true}
{{- end }}
{{- if .Values.secrets.tokenHashes }}
- {name: token-hashes, mountPath: /var/run/keysteward/token-hashes, readOnly: true}
{{- end }}
{{- if and .Values.deposits.executionRpc .Values.deposits.funding.secret }}
- {name: funding, mountPath: /var/run/keysteward/funding, readOnly: true}
{{- end }}
{{- if and .Values.backups.every .Values.backups.s3.secret }}
- {name: backup, mountPath: /var/run/keysteward/backup, readOnly: true}
{{- end }}
{{- with .Values.extraVolumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- /* Keys are refused where others may read them, so their files are the group's at most. */ -}}
{{- define "keysteward.volumes" -}}
- name: tmp
  emptyDir: {medium: Memory, sizeLimit: 16Mi}
- name: api-tls
  secret: {secretName: {{ include "keysteward.secret.apiTls" . }}, defaultMode: 0440}
- name: raft-tls
  secret: {secretName: {{ include "keysteward.secret.raftTls" . }}, defaultMode: 0440}
{{- if not .Values.withoutKek }}
- name: kek
  secret: {secretName: {{ include "keysteward.secret.kek" . }}, defaultMode: 0440}
{{- end }}
{{- with .Values.secrets.tokenHashes }}
- name: token-hashes
  secret: {secretName: {{ . }}, defaultMode: 0440}
{{- end }}
{{- if and .Values.deposits.executionRpc .Values.deposits.funding.secret }}
- name: funding
  secret: {secretName: {{ .Values.deposits.funding.secret }}, defaultMode: 0440}
{{- end }}
{{- if and .Values.backups.every .Values.backups.s3.secret }}
- name: backup
  secret: {secretName: {{ .Values.backups.s3.secret }}, defaultMode: 0440}
{{- end }}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "keysteward.placement" -}}
{{- if ne .Values.podAntiAffinity "none" }}
affinity:
  podAntiAffinity:
    {{- if eq .Values.podAntiAffinity "required" }}
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {{- include "keysteward.selector" . | nindent 12 }}
            app.kubernetes.io/component: server
    {{- else }}
    preferredDuringSchedulingIgnoredDuringExecution:
      - weight: 100
        podAffinityTerm:
          topologyKey: kubernetes.io/hostname
          labelSelector:
            matchLabels: {{- include "keysteward.selector" . | nindent 14 }}
              app.kubernetes.io/component: server
    {{- end }}
{{- end }}
{{- with .Values.topologyKey }}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- include "keysteward.selector" $ | nindent 8 }}
        app.kubernetes.io/component: server
{{- end }}
{{- with .Values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}
