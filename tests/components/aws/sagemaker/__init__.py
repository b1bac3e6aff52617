"""SageMaker's HyperPod clusters: what moto has of them is too wrong to be passed on, so all of it is answered here."""
