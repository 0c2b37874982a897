{{- /*
The operator's flags as environment variables: KEYSTEWARD_ and the flag in capitals. What makes the pods
a cluster stands in the StatefulSet's arguments instead, which go before variables.
*/ -}}
{{- define "keysteward.configuration" -}}
KEYSTEWARD_LOG_FORMAT: {{ .Values.log.format | quote }}
KEYSTEWARD_LOG_LEVEL: {{ .Values.log.level | quote }}
KEYSTEWARD_LOG_REQUESTS: {{ .Values.log.requests | quote }}
{{- with .Values.tracing.endpoint }}
KEYSTEWARD_OTLP_ENDPOINT: {{ . | quote }}
{{- end }}
KEYSTEWARD_WITNESS: {{ .Values.witness.kind | quote }}
KEYSTEWARD_PODS: {{ join "," .Values.pods | quote }}
KEYSTEWARD_POD_TOKEN_AUDIENCE: {{ .Values.podTokenAudience | quote }}
KEYSTEWARD_MAX_KEYS_PER_POD: {{ int .Values.maxKeysPerPod | quote }}
KEYSTEWARD_RATE_LIMIT: {{ int .Values.rateLimit | quote }}
KEYSTEWARD_ASSIGNMENTS_PUBLIC: {{ .Values.assignmentsPublic | quote }}
{{- with .Values.allowedNamespaces }}
KEYSTEWARD_ALLOWED_NAMESPACES: {{ join "," . | quote }}
{{- end }}
{{- if ne .Values.witness.leaseDuration "0" }}
KEYSTEWARD_LEASE_DURATION: {{ .Values.witness.leaseDuration | quote }}
{{- end }}
{{- with .Values.auditFile }}
KEYSTEWARD_AUDIT_FILE: {{ . | quote }}
{{- end }}
{{- if .Values.backups.every }}
{{- include "keysteward.backupConfiguration" . }}
{{- end }}
{{- with .Values.beaconApi }}
KEYSTEWARD_BEACON_API: {{ . | quote }}
{{- end }}
{{- with .Values.network.name }}
KEYSTEWARD_NETWORK: {{ . | quote }}
{{- end }}
{{- if eq .Values.network.name "custom" }}
{{- with .Values.network.custom }}
KEYSTEWARD_CHAIN_ID: {{ int64 .chainId | quote }}
KEYSTEWARD_DEPOSIT_CONTRACT: {{ .depositContract | quote }}
KEYSTEWARD_FORK_VERSION: {{ .forkVersion | quote }}
{{- if .confirmations }}
KEYSTEWARD_CONFIRMATIONS: {{ int64 .confirmations | quote }}
{{- end }}
{{- if .genesisTime }}
KEYSTEWARD_GENESIS_TIME: {{ int64 .genesisTime | quote }}
KEYSTEWARD_GENESIS_VALIDATORS_ROOT: {{ .genesisValidatorsRoot | quote }}
{{- end }}
{{- end }}
{{- end }}
KEYSTEWARD_DEPOSITS: {{ ternary "on" "off" .Values.deposits.enabled | quote }}
{{- if .Values.deposits.executionRpc }}
{{- include "keysteward.depositConfiguration" . }}
{{- end }}
{{- end -}}

{{- define "keysteward.depositConfiguration" -}}
{{- with .Values.deposits }}
KEYSTEWARD_EXECUTION_RPC: {{ join "," .executionRpc | quote }}
{{- if .blsWithdrawal }}
KEYSTEWARD_BLS_WITHDRAWAL: "true"
{{- else }}
KEYSTEWARD_WITHDRAWAL_ADDRESS: {{ .withdrawalAddress | quote }}
{{- if .compounding }}
KEYSTEWARD_COMPOUNDING: "true"
{{- end }}
{{- end }}
KEYSTEWARD_AMOUNT_GWEI: {{ int64 .amountGwei | quote }}
KEYSTEWARD_MAX_DEPOSITS_PER_DAY: {{ int64 .maxPerDay | quote }}
KEYSTEWARD_SPARE_KEYS: {{ int64 .spareKeys | quote }}
KEYSTEWARD_DEPOSITS_IN_FLIGHT: {{ int64 .inFlight | quote }}
KEYSTEWARD_MAX_FEE_GWEI: {{ int64 .maxFeeGwei | quote }}
{{- if .startBlock }}
KEYSTEWARD_DEPOSIT_START_BLOCK: {{ int64 .startBlock | quote }}
{{- end }}
{{- if .seedUnusedBeforeStartBlock }}
KEYSTEWARD_SEED_UNUSED_BEFORE_START_BLOCK: "true"
{{- end }}
{{- if .funding.secret }}
KEYSTEWARD_FUNDING_KEYSTORE: {{ printf "/var/run/keysteward/funding/%s" .funding.keystoreKey | quote }}
KEYSTEWARD_FUNDING_PASSWORD_FILE: {{ printf "/var/run/keysteward/funding/%s" .funding.passwordKey | quote }}
{{- else }}
KEYSTEWARD_FUNDING_SIGNER: {{ .funding.signer | quote }}
KEYSTEWARD_FUNDING_ADDRESS: {{ .funding.address | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{- define "keysteward.backupConfiguration" }}
{{- with .Values.backups }}
KEYSTEWARD_BACKUP_EVERY: {{ .every | quote }}
KEYSTEWARD_BACKUP_TO: {{ .to | quote }}
KEYSTEWARD_BACKUP_KEEP: {{ int .keep | quote }}
{{- with .s3.endpoint }}
KEYSTEWARD_BACKUP_S3_ENDPOINT: {{ . | quote }}
{{- end }}
{{- with .s3.region }}
KEYSTEWARD_BACKUP_S3_REGION: {{ . | quote }}
{{- end }}
{{- if .s3.pathStyle }}
KEYSTEWARD_BACKUP_S3_PATH_STYLE: "true"
{{- end }}
{{- if .s3.secret }}
KEYSTEWARD_BACKUP_S3_CREDENTIALS_FILE: {{ printf "/var/run/keysteward/backup/%s" .s3.credentialsKey | quote }}
{{- with .s3.caKey }}
KEYSTEWARD_BACKUP_S3_CA_FILE: {{ printf "/var/run/keysteward/backup/%s" . | quote }}
{{- end }}
{{- end }}
{{- end }}
{{- end -}}
