"""Nodes of the test cluster (kwok's) that are what the overlay in tests/components/aws/sagemaker says HyperPod's nodes are.

From a shell, with AWS's stand-in at ENDPOINT and a test cluster up:

    python -m tests.components.hyperpod_nodes --endpoint ENDPOINT --cluster trainyard --kubeconfig FILE [--real NODE]

In a test: the fixture `hyperpod_nodes`, see fixtures.py. A HyperPod node is found by its label cluster-name.
"""
