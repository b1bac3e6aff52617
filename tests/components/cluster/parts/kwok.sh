#!/usr/bin/env bash
# The kubelet of the nodes that only pretend: kwok manages the nodes annotated kwok.x-k8s.io/node=fake.
. "$(dirname "$0")/../env.sh"
for step in $(seq 200); do                    # what `kubectl logs` shows, in the format of a container runtime
  echo "2026-01-01T00:00:00.000000000Z stdout F step $step loss $((2000 / step)).0"
done >"$STATE/fake.log"
{ cat "$(folder kwok)/stages.yaml"; echo ---; fill "$HERE/conf/kwok.yaml"; } >"$STATE/kwok.yaml"
KWOK_ARGS=(
  --kubeconfig="$STATE/kwok.kubeconfig" --config="$STATE/kwok.yaml" --manage-all-nodes=false
  --manage-nodes-with-annotation-selector=kwok.x-k8s.io/node=fake --node-lease-duration-seconds="${KWOK_LEASE_S:-40}"
  --node-ip="$IP" --node-port=10247 --server-address="$IP:10247" --cidr="$FAKE_CIDR"
  --tls-cert-file="$STATE/pki/kwok.crt" --tls-private-key-file="$STATE/pki/kwok.key"
)
start kwok "${NETNS[@]}" "$(folder kwok)/kwok" "${KWOK_ARGS[@]}"
