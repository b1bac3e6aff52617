"""The operations of SageMaker that are answered here: all of HyperPod's clusters and nodes. The others are moto's."""

from tests.components.aws.wire.json_service import JsonService

SAGEMAKER = JsonService("sagemaker", "SageMaker", invalid="ValidationException")
