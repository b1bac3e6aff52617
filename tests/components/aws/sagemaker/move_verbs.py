"""MoveClusterNodes: nodes that keep their instance, in another group or another cluster."""

from __future__ import annotations

from tests.components.aws.sagemaker import life, scaling, settling
from tests.components.aws.sagemaker.entering import HyperPodCall, verb
from tests.components.aws.sagemaker.node_verbs import BY_NODE, each_node, refusal
from tests.components.aws.sagemaker.records import Cluster, Document, Group, Node
from tests.components.aws.wire.refused import Refused

CHOICES = ("NodeIds", "NodeLogicalIds", "InstanceCount")


@verb
def move_cluster_nodes(call: HyperPodCall) -> Document:
    """The same token and request again: the same answer, and no new move."""
    kept = call.state.answered("MoveClusterNodes", call.region, call.request)
    if kept is None:
        kept = Move(call).answer()
        call.state.keep_answer("MoveClusterNodes", call.region, call.request, kept)
    return dict(kept)


class Move:
    def __init__(self, call: HyperPodCall) -> None:
        """Raises Refused."""
        self.call, request = call, call.request
        self.source = call.state.cluster(call.region, request["SourceClusterArn"])
        self.target = call.state.cluster(call.region, request["TargetClusterArn"])
        self.group = group_of(self.source, request["SourceInstanceGroupName"])
        self.goal = group_of(self.target, request["TargetInstanceGroupName"])
        for cluster in (self.source, self.target):
            if cluster.status != "InService" or not cluster.continuous or cluster.slurm:
                text = "must be InService, use Amazon EKS orchestration, and use the Continuous NodeProvisioningMode."
                raise Refused("ValidationException", f"Cluster '{cluster.name}' {text}")
        if self.group is self.goal:
            raise Refused("ValidationException", "The source and the target instance group must be different.")
        if sum(name in request for name in CHOICES) != 1:
            raise Refused("ValidationException", "Specify exactly one of NodeIds, NodeLogicalIds, or InstanceCount.")

    def answer(self) -> Document:
        """Raises Refused where no node can be moved, and moves none then."""
        chosen: list[Node] = []
        if count := self.call.request.get("InstanceCount"):
            chosen = [node for node in self.source.of_group(self.group.name) if self.fits(node)][:count]
            if len(chosen) < count:
                raise Refused("ValidationException", f"Fewer than {count} nodes of '{self.group.name}' are eligible to move.")
            answer: Document = {"Successful": [node.instance_id for node in chosen]}
        else:
            answer = self.named(chosen)
        if not chosen:
            raise Refused("ValidationException", "None of the specified nodes can be moved.")
        if self.group.target - len(chosen) < (self.group.minimum or 0):
            raise Refused("ValidationException", f"The move would reduce '{self.group.name}' below its minimum instance count.")
        self.begin(chosen)
        return answer

    def fits(self, node: Node) -> bool:
        return node.instance_type in self.goal.types and not refusal(self.call, self.source, BY_NODE, node)[0]

    def named(self, chosen: list[Node]) -> Document:
        """Each node is judged alone. `chosen` is filled with those that may."""
        answer = each_node(self.call, self.source, BY_NODE, chosen.append)
        for good, bad, member in (
            ("Successful", "Failed", "NodeId"),
            ("SuccessfulNodeLogicalIds", "FailedNodeLogicalIds", "NodeLogicalId"),
        ):
            for id in list(answer.get(good, [])):
                node = self.source.find(id)
                if node in chosen and (code := self.mismatch(node)):
                    chosen.remove(node)
                    answer[good].remove(id)
                    answer.setdefault(bad, []).append({member: id, "Code": code, "Message": f"{code}: {node.instance_type}"})
        return {name: value for name, value in answer.items() if value}

    def mismatch(self, node: Node) -> str:
        if node.group != self.group.name:
            return "NodeIdNotFound"
        if node.status != "Running":
            return "InvalidNodeStatus"
        return "" if node.instance_type in self.goal.types else "NodeInstanceTypeMismatch"

    def begin(self, chosen: list[Node]) -> None:
        state = self.call.state
        # Counts change at once, on both sides; aim would make or end nodes for them.
        scaling.begin_operation(state, self.source, {self.group.name: self.group.target - len(chosen)})
        scaling.begin_operation(state, self.target, {self.goal.name: self.goal.target + len(chosen)})
        self.group.target -= len(chosen)
        self.goal.target += len(chosen)
        for node in chosen:
            life.take(node, "move", "DetachInProgress")
            node.arrived = False
            self.then(node)
        settling.settle(state, self.source)
        settling.settle(state, self.target)

    def then(self, node: Node) -> None:
        state = self.call.state
        pace = state.agenda.pace

        def attach() -> None:
            self.source.nodes.remove(node)
            node.group, node.status = self.goal.name, "AttachInProgress"
            self.target.nodes.append(node)
            settling.settle(state, self.source)
            settling.settle(state, self.target)
            life.later(state, pace.attach_s, node, lambda: life.arrives(state, self.target, node))

        life.later(state, pace.detach_s, node, attach)


def group_of(cluster: Cluster, name: str) -> Group:
    """Raises Refused."""
    if name not in cluster.groups:
        raise Refused("ValidationException", f"Instance group '{name}' does not exist in cluster '{cluster.name}'.")
    return cluster.groups[name]
