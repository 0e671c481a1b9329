"""The door: an OpenAI-compatible gateway that lets operators reach a model early, by grant and by decision, and shuts at once.

| to | modules |
|---|---|
| agree on words | `model`, `config` |
| serve | `serve`, `protocol`, `gateway` (the pipeline), `parse`, `upstream`, `passing`, `answertext`, `live` |
| know who it is | `credentials`, `dpop`, `tls`, `secretfile`; on the operator's side `connect`, `gateclient` |
| know what they may | `grants`, `grantfile`, `narrow`, `standing`; `policy` and `policies/` (Cedar), `policyfacts`, `policycheck`, `policywords` |
| know what holds now | `teeth` (releases, halts, lease), `orders` (signed halts, lifts, revocations), `remembered` |
| keep and count | `store`, `store_sqlite`, `store_postgres`, `quota`, `sessions` |
| record | `audit`, `auditrecords`, `auditsegment`, `auditends`, `auditcontent`; to read `auditverify`, `auditread` |
| watch | `checks`, `builtin_checks`, `personal`; `canaries`, `style`, `styled`; `alerts`, `habits`, `likeness`, `sketches`; `breakglass` |
| hear of weaknesses | `findings`, `finding_form`, `finding_steps`, `finding_scenario`, `csaf`, `osv` |
| keep the unreleased undeployed | `admission`, `admission_objects`, `admission_server` |
| administer | `admin`, `adminops`, `adminacts`, `adminlooks`, `adminviews`, `adminwire`, `adminserve`, `signedhttp`, `openapi`, `console/` |
| measure | `metrics`, `metricstext`, `health`, `traces` |
"""
