"""The operations of ECR that are answered here; the others are moto's."""

from tests.components.aws.wire.json_service import JsonService

ECR = JsonService("ecr", "AmazonEC2ContainerRegistry_V20150921", invalid="InvalidParameterException")
