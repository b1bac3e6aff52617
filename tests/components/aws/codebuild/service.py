"""The operations of CodeBuild that are answered here: all that concern projects and single builds. moto's are never asked."""

from tests.components.aws.wire.json_service import JsonService

CODEBUILD = JsonService("codebuild", "CodeBuild_20161006", invalid="InvalidInputException")
