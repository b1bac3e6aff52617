"""HyperPod's training operator, played: its CRD as the documentation has it, and a small controller.

The real operator is not public. What is proven with this is our side of the API: the fields that we send, the conditions that we
read, the pods that we find by their labels. `python -m tests.components.hyperpod` runs it on the current kubeconfig.
"""
