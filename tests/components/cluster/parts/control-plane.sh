#!/usr/bin/env bash
# etcd, kube-apiserver, kube-controller-manager, kube-scheduler
. "$(dirname "$0")/../env.sh"
PKI=$STATE/pki
ETCD_ARGS=(
  --name e --data-dir "$STATE/etcd" --initial-cluster e=http://127.0.0.1:2380
  --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379
  --listen-peer-urls http://127.0.0.1:2380 --initial-advertise-peer-urls http://127.0.0.1:2380
  --quota-backend-bytes 4294967296 --auto-compaction-mode=periodic --auto-compaction-retention=10m --unsafe-no-fsync
)
APISERVER_ARGS=(
  --etcd-servers=http://127.0.0.1:2379 --bind-address="$IP" --advertise-address="$IP" --secure-port=6443
  --tls-cert-file="$PKI/apiserver.crt" --tls-private-key-file="$PKI/apiserver.key" --client-ca-file="$PKI/ca.crt"
  --token-auth-file="$STATE/tokens.csv" "--authorization-mode=Node,RBAC" --service-cluster-ip-range="$SERVICE_CIDR"
  --service-account-issuer=https://kubernetes.default.svc
  --service-account-key-file="$PKI/sa.key" --service-account-signing-key-file="$PKI/sa.key"
  --kubelet-client-certificate="$PKI/kubelet-client.crt" --kubelet-client-key="$PKI/kubelet-client.key"
  --kubelet-preferred-address-types=InternalIP --allow-privileged=true --endpoint-reconciler-type=lease
  --max-requests-inflight=2000 --max-mutating-requests-inflight=1000
  --enable-aggregator-routing=true             # webhook calls go to the EndpointSlice: they need no kube-proxy
)
CONTROLLER_MANAGER_ARGS=(
  --kubeconfig="$STATE/controller-manager.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false
  --use-service-account-credentials=true --service-account-private-key-file="$PKI/sa.key" --root-ca-file="$PKI/ca.crt"
  --cluster-signing-cert-file="$PKI/ca.crt" --cluster-signing-key-file="$PKI/ca.key"
  --service-cluster-ip-range="$SERVICE_CIDR" --controllers='*,-nodeipam,-cloud-node-lifecycle'
  --kube-api-qps=500 --kube-api-burst=500
)
SCHEDULER_ARGS=(--kubeconfig="$STATE/scheduler.kubeconfig" --bind-address=127.0.0.1 --leader-elect=false --kube-api-qps=500 --kube-api-burst=500)

start etcd "${NETNS[@]}" "$(program etcd etcd)" "${ETCD_ARGS[@]}"
start kube-apiserver "${NETNS[@]}" "$(program control-plane kube-apiserver)" "${APISERVER_ARGS[@]}"
wait_for 60 kubectl get --raw /readyz
start kube-controller-manager "${NETNS[@]}" "$(folder control-plane)/kube-controller-manager" "${CONTROLLER_MANAGER_ARGS[@]}"
start kube-scheduler "${NETNS[@]}" "$(folder control-plane)/kube-scheduler" "${SCHEDULER_ARGS[@]}"
wait_for 60 kubectl get serviceaccount default -n default
