{{- /* What the schema can not say, in words. */ -}}
{{- define "keysteward.checks" -}}
{{- if and .Release.IsInstall (lt (int .Values.replicas) (int .Values.founders)) -}}
{{- fail (printf "replicas %d, founders %d: a new cluster is founded once all founders run; give at least as many replicas" (int .Values.replicas) (int .Values.founders)) -}}
{{- end -}}
{{- if and .Values.withoutKek (not .Values.extraSeal) -}}
{{- fail "withoutKek: name another key-encryption key in extraSeal; without one nothing can be opened" -}}
{{- end -}}
{{- if and (dig "limits" "memory" "" .Values.resources) (not (include "keysteward.goMemLimit" .)) -}}
{{- fail (printf "resources.limits.memory %v: give it in Mi or Gi, such as 1Gi, since Go's heap is limited by it" .Values.resources.limits.memory) -}}
{{- end -}}
{{- with .Values.deposits -}}
{{- if .executionRpc -}}
{{- if not $.Values.network.name -}}
{{- fail "deposits.executionRpc: name the network (network.name) too, so that nothing is paid on another" -}}
{{- end -}}
{{- if eq .blsWithdrawal (ne .withdrawalAddress "") -}}
{{- fail "deposits: say where stakes are withdrawn to, with one of deposits.withdrawalAddress and deposits.blsWithdrawal" -}}
{{- end -}}
{{- if and .blsWithdrawal .compounding -}}
{{- fail "deposits.compounding needs deposits.withdrawalAddress" -}}
{{- end -}}
{{- if eq (ne .funding.secret "") (ne .funding.signer "") -}}
{{- fail "deposits.funding: name the account that pays, with one of deposits.funding.secret and deposits.funding.signer" -}}
{{- end -}}
{{- if and .funding.signer (not .funding.address) -}}
{{- fail "deposits.funding.signer needs deposits.funding.address" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and $.Values.beaconApi (not .Values.network.name) -}}
{{- fail "beaconApi: name the network (network.name) too" -}}
{{- end -}}
{{- if eq .Values.network.name "custom" -}}
{{- with .Values.network.custom -}}
{{- if not (and .chainId .depositContract .forkVersion) -}}
{{- fail "network custom: chainId, depositContract and forkVersion are needed (network.custom)" -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.metrics.serviceMonitor.enabled (not .Values.metrics.serviceMonitor.tokenSecret.name) -}}
{{- fail "metrics.serviceMonitor: reading metrics takes a token of the role viewer: name its Secret in metrics.serviceMonitor.tokenSecret" -}}
{{- end -}}
{{- end -}}
