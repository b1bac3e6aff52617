#!/usr/bin/env bash
# operator.sh NAME: training (PyTorchJob), jobset, trainer (TrainJob; after jobset) or kuberay, as a process, with its real webhooks
. "$(dirname "$0")/../env.sh"
FILES=$STATE/operators
# Fixed in the operators' code: normally a mounted Secret, here a bind mount that only the operator's process sees.
WEBHOOK_FOLDER=/tmp/k8s-webhook-server

apply() { kubectl apply --server-side --force-conflicts -f "$1"; }
established() { kubectl wait --for=condition=Established crd --all --timeout=30s; }
manifest() {
  fill "$(folder "$1")/manifest.json" >"$FILES/$1.json"
  wait_for 60 apply "$FILES/$1.json"
  wait_for 60 established                     # retried: it fails on a definition that has no status yet
}
run() {                                       # run NAME COMMAND...
  local name=$1; shift
  mkdir -p "$FILES/$name/serving-certs" "$WEBHOOK_FOLDER"
  # KubeRay asks Ray's dashboard by its cluster name, so the operators get the cluster's DNS.
  echo "nameserver $IP" >"$FILES/$name/resolv.conf"
  # shellcheck disable=SC2016
  start "$name" "${NETNS[@]}" env KUBECONFIG="$STATE/operators.kubeconfig" unshare -m sh -c '
    mount --bind "$1" "$2" && mount --bind "$1/resolv.conf" /etc/resolv.conf && shift 2 && exec "$@"' \
    sh "$FILES/$name" "$WEBHOOK_FOLDER" "$@"
}
has_key() { kubectl -n "$1" get secret "$2" -o json | grep '"tls.key"' >/dev/null; }     # not -q: kubectl would fail on the closed pipe
certificates() {                              # certificates NAME NAMESPACE SECRET: what the kubelet's Secret mount would do
  wait_for 60 has_key "$2" "$3"
  kubectl -n "$2" get secret "$3" -o json | "$PY" -c 'import base64, json, pathlib, sys
for name, content in json.load(sys.stdin)["data"].items():
    pathlib.Path(sys.argv[1], name).write_bytes(base64.b64decode(content))' "$FILES/$1/serving-certs"
}
ready() { wait_for 90 "${NETNS[@]}" curl -sf "http://127.0.0.1:$1"; }
answers() {
  case $("${NETNS[@]}" curl -sk -o /dev/null -w '%{http_code}' "https://$IP:$1") in 000 | 404) return 1 ;; esac
}
webhooks() {                                  # webhooks NAME PORT PATTERN: readiness comes before the webhooks are registered (404 until then)
  local path
  grep -oE '"path": "/(mutate|validate)-[a-z0-9-]*"' "$FILES/$1.json" | cut -d'"' -f4 | grep "$3" | sort -u |
    while read -r path; do wait_for 60 answers "$2$path"; done
}

training() {
  fill "$HERE/conf/training-init-container.yaml" >"$FILES/init-container.yaml"
  run training env MY_POD_NAMESPACE=kubeflow "$(folder training)/training-operator.v1" --enable-scheme=pytorchjob \
    --webhook-server-port=9443 --metrics-bind-address=127.0.0.1:8380 --health-probe-bind-address=127.0.0.1:8381 \
    --kube-api-qps=200 --kube-api-burst=200 \
    --pytorch-init-container-image="$IMAGE" --pytorch-init-container-template-file="$FILES/init-container.yaml"
  certificates training kubeflow training-operator-webhook-cert
  ready 8381/readyz; webhooks training 9443 pytorchjob
}
kuberay() {
  run kuberay "$(folder kuberay)/ray-operator" --metrics-addr=127.0.0.1:8480 --health-probe-bind-address=127.0.0.1:8482 --enable-leader-election=false
  ready 8482/healthz
}
jobset() {
  run jobset env POD_NAMESPACE=jobset-system "$(folder jobset)/jobset" --config="$HERE/conf/jobset.yaml"
  certificates jobset jobset-system jobset-webhook-server-cert
  ready 8581/readyz; webhooks jobset 9543 jobset
}
trainer() {
  run trainer env POD_NAMESPACE=kubeflow-system "$(folder trainer)/trainer-controller-manager" --config="$HERE/conf/trainer.yaml"
  certificates trainer kubeflow-system kubeflow-trainer-webhook-cert
  ready 8681/readyz; webhooks trainer 9643 trainer
  wait_for 30 apply "$(folder trainer)/runtimes.yaml"
}
manifest "$1"
"$1"
