{{- define "assay.name" -}}
{{- printf "%s-gate" .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "assay.image" -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- end -}}

{{- define "assay.selector" -}}
app.kubernetes.io/name: assay
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "assay.labels" -}}
{{ include "assay.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end -}}

{{/* Of a pod: what Pod Security's "restricted" asks for. */}}
{{- define "assay.pod" -}}
serviceAccountName: {{ include "assay.name" . }}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with .Values.image.pullSecrets }}
imagePullSecrets:
{{- range . }}
  - name: {{ . }}
{{- end }}
{{- end }}
{{- end -}}

{{/* Of a container. */}}
{{- define "assay.container" -}}
image: {{ include "assay.image" . }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
{{- end -}}

{{- define "assay.environment" -}}
{{- range . }}
- name: {{ .name }}
  valueFrom:
    secretKeyRef: {name: {{ .secret }}, key: {{ .key }}}
{{- end }}
{{- end -}}

{{/* Ways out: each to its peers and its port alone. */}}
{{- define "assay.ways" -}}
{{- range . }}
- to:
{{- toYaml .to | nindent 4 }}
  ports:
    - {protocol: TCP, port: {{ .port }}}
{{- end }}
{{- end -}}

{{- define "assay.dns" -}}
- to:
    - namespaceSelector:
        matchLabels: {kubernetes.io/metadata.name: kube-system}
      podSelector:
        matchLabels: {k8s-app: kube-dns}
  ports:
    - {protocol: UDP, port: 53}
    - {protocol: TCP, port: 53}
{{- end -}}

{{/* What the gate and its administration both see. */}}
{{- define "assay.mounts" -}}
- {name: gate, mountPath: /gate}
- {name: tls, mountPath: /tls, readOnly: true}
{{- if .Values.gate.authority.secret }}
- {name: authority, mountPath: /authority, readOnly: true}
{{- end }}
- {name: tmp, mountPath: /tmp}
{{- end -}}
