#!/usr/bin/env bash
# The real node
. "$(dirname "$0")/../env.sh"
mkdir -p "$STATE"/{kubelet,podlogs,volume-plugins}
fill "$HERE/conf/kubelet.yaml" >"$STATE/kubelet.yaml"
echo "nameserver 127.0.0.1" >"$STATE/resolv.conf"
KUBELET_ARGS=(
  --config="$STATE/kubelet.yaml" --kubeconfig="$STATE/node.kubeconfig" --hostname-override="$NODE" --node-ip="$IP"
  --root-dir="$STATE/kubelet" --cert-dir="$STATE/kubelet/pki"
  "--node-labels=type=real,node.kubernetes.io/instance-type=real,topology.kubernetes.io/zone=us-west-2a"
)
start kubelet "${NETNS[@]}" "$(folder kubelet)/kubelet" "${KUBELET_ARGS[@]}"
wait_for 60 kubectl wait --for=condition=Ready "node/$NODE" --timeout=5s
