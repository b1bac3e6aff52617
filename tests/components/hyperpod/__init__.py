"""HyperPod's training operator, played: its CRD as the documentation has it, and a small controller that drives AWS's real launcher.

The real operator is not public; its launcher `hyperpodrun` is (launcher.py), and speaks HTTP: agents.py. What is proven with this is
our side of both: the fields that we send, the conditions that we read, the pods that we find by their labels, and what a run keeps
when the launcher stops it. `python -m tests.components.hyperpod` runs the controller on the current kubeconfig.
"""
