{{- /* What the schema can not say, in words. */ -}}
{{- define "keysteward.checks" -}}
{{- if and .Release.IsInstall (lt (int .Values.replicas) (int .Values.founders)) -}}
{{- fail (printf "replicas %d, founders %d: a new cluster is founded once all founders run; give at least as many replicas" (int .Values.replicas) (int .Values.founders)) -}}
{{- end -}}
{{- include "keysteward.checkScale" . -}}
{{- include "keysteward.checkLease" . -}}
{{- include "keysteward.checkMetadata" . -}}
{{- if and .Values.withoutKek (not .Values.extraSeal) -}}
{{- fail "withoutKek: name another key-encryption key in extraSeal; without one nothing can be opened" -}}
{{- end -}}
{{- if and (dig "limits" "memory" "" .Values.resources) (not (include "keysteward.goMemLimit" .)) -}}
{{- fail (printf "resources.limits.memory %v: give it in Mi or Gi, such as 1Gi, since Go's heap is limited by it" .Values.resources.limits.memory) -}}
{{- end -}}
{{- if ne (eq .Values.backups.every "") (eq .Values.backups.to "") -}}
{{- fail "backups: every and to go together" -}}
{{- end -}}
{{- if and (or .Values.backups.s3.endpoint .Values.backups.s3.region .Values.backups.s3.pathStyle .Values.backups.s3.secret) (not (hasPrefix "s3://" .Values.backups.to)) -}}
{{- fail "backups.s3: for backups.to s3://BUCKET/PREFIX only" -}}
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

{{- /*
What runs, against what is wanted: members that go have to leave a majority of the old number behind, or
nobody is left to agree on their removal. Only where helm asks a Kubernetes (lookup), so neither in
`helm template` nor where something else renders the chart.
*/ -}}
{{- define "keysteward.checkScale" -}}
{{- $set := lookup "apps/v1" "StatefulSet" .Release.Namespace (include "keysteward.fullname" .) -}}
{{- if $set -}}
{{- $old := max (int (dig "spec" "replicas" 1 $set)) (int (dig "status" "replicas" 0 $set)) -}}
{{- $new := int .Values.replicas -}}
{{- if lt $new $old -}}
{{- if or (lt $new 3) (gt (sub $old $new) (div (sub $old 1) 2)) -}}
{{- $least := max 3 (sub $old (div (sub $old 1) 2)) -}}
{{- $least = add $least (sub 1 (mod $least 2)) -}}{{- /* odd, as the schema wants it */ -}}
{{- fail (printf "replicas %d, where %d pods run: those who remain would be no majority, and nobody could agree on anything any more. From %d go to %d at the least, and on when `keysteward cluster status` shows no more than that" $new $old $old (min $old $least)) -}}
{{- end -}}
{{- end -}}
{{- $peers := printf "--peers=%s" (include "keysteward.peers" .) -}}
{{- range $container := $set.spec.template.spec.containers -}}
{{- range $arg := $container.args -}}
{{- if and (eq $container.name "keysteward") (hasPrefix "--peers=" $arg) (ne $arg $peers) -}}
{{- fail (printf "founders %d: never change it, nor clusterDomain. They say who founded the cluster, not how many run (that is replicas). Installed is %s" (int $.Values.founders) $arg) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* As the server would say it, but before the pods are restarted. */ -}}
{{- define "keysteward.checkLease" -}}
{{- $duration := .Values.witness.leaseDuration -}}
{{- $seconds := 0.0 -}}
{{- range regexFindAll "[0-9]+(\\.[0-9]+)?[hms]" $duration -1 -}}
{{- $unit := regexFind "[hms]" . -}}
{{- $seconds = addf $seconds (mulf (float64 (trimSuffix $unit .)) (get (dict "h" 3600 "m" 60 "s" 1) $unit)) -}}
{{- end -}}
{{- if and (gt $seconds 0.0) (lt $seconds 180.0) (ne .Values.network.name "custom") -}}
{{- fail (printf "witness.leaseDuration %s: \"0\" for none, or at least 3m; less only on a custom network" $duration) -}}
{{- end -}}
{{- end -}}

{{- /* Labels of pods that Services, budget and StatefulSet find them by. */ -}}
{{- define "keysteward.checkMetadata" -}}
{{- range $where, $map := dict "podLabels" .Values.podLabels "podAnnotations" .Values.podAnnotations -}}
{{- range $key, $_ := $map -}}
{{- if or (hasPrefix "keysteward.io/" $key) (and (eq $where "podLabels") (hasPrefix "app.kubernetes.io/" $key)) -}}
{{- fail (printf "%s: %s is the chart's own; choose another one" $where $key) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
