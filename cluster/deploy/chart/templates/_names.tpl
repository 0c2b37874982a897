{{- define "keysteward.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "keysteward.selector" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "keysteward.labels" -}}
{{ include "keysteward.selector" . }}
app.kubernetes.io/version: {{ default .Chart.AppVersion .Values.image.tag | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- end -}}

{{- define "keysteward.image" -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}

{{- /* What is cluster-wide has the namespace in its name, behind a colon, which is in no other name: no two
releases meet. */ -}}
{{- define "keysteward.clusterName" -}}
{{ .Release.Namespace }}:{{ include "keysteward.fullname" . }}
{{- end -}}

{{- define "keysteward.secret.apiTls" -}}
{{ default (printf "%s-api-tls" (include "keysteward.fullname" .)) .Values.secrets.apiTls }}
{{- end -}}
{{- define "keysteward.secret.raftTls" -}}
{{ default (printf "%s-raft-tls" (include "keysteward.fullname" .)) .Values.secrets.raftTls }}
{{- end -}}
{{- define "keysteward.secret.kek" -}}
{{ default (printf "%s-kek" (include "keysteward.fullname" .)) .Values.secrets.kek }}
{{- end -}}

{{- /* The domain of pods: keysteward-0.DOMAIN. */ -}}
{{- define "keysteward.peersDomain" -}}
{{ include "keysteward.fullname" . }}-peers.{{ .Release.Namespace }}.svc.{{ .Values.clusterDomain }}
{{- end -}}

{{- define "keysteward.peers" -}}
{{- $name := include "keysteward.fullname" . -}}
{{- $domain := include "keysteward.peersDomain" . -}}
{{- $peers := list -}}
{{- range $i := until (int .Values.founders) -}}
{{- $peers = append $peers (printf "%s-%d=%s-%d.%s:8300" $name $i $name $i $domain) -}}
{{- end -}}
{{- join "," $peers -}}
{{- end -}}

{{- /* Hosts of pods 0 to 6, one a line: as many as there can be, so that scaling needs no new certificates. */ -}}
{{- define "keysteward.podHosts" -}}
{{- $name := include "keysteward.fullname" . -}}
{{- $domain := include "keysteward.peersDomain" . -}}
{{- range $i := until 7 -}}
{{- printf "%s-%d.%s\n" $name $i $domain -}}
{{- end -}}
{{- end -}}

{{- /* Names of the Services, and of this machine for kubectl port-forward, one a line. */ -}}
{{- define "keysteward.apiNames" -}}
{{- $namespace := .Release.Namespace -}}
{{- $domain := .Values.clusterDomain -}}
{{- $name := include "keysteward.fullname" . -}}
{{- range $service := list $name (printf "%s-leader" $name) (printf "%s-peers" $name) -}}
{{- printf "%s\n%s.%s\n%s.%s.svc\n%s.%s.svc.%s\n" $service $service $namespace $service $namespace $service $namespace $domain -}}
{{- end -}}
{{- printf "localhost\n" -}}
{{- end -}}

{{- define "keysteward.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "keysteward.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- /* Nine tenths of the memory limit, in MiB, for Go's heap. */ -}}
{{- define "keysteward.goMemLimit" -}}
{{- $memory := toString (dig "limits" "memory" "" .Values.resources) -}}
{{- if regexMatch "^[0-9]+Gi$" $memory -}}
{{- printf "%dMiB" (div (mul (trimSuffix "Gi" $memory | int) 1024 9) 10) -}}
{{- else if regexMatch "^[0-9]+Mi$" $memory -}}
{{- printf "%dMiB" (div (mul (trimSuffix "Mi" $memory | int) 9) 10) -}}
{{- end -}}
{{- end -}}
