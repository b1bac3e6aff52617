#!/usr/bin/env bash
# Builds the image of a project folder on AWS CodeBuild: build_image_codebuild.py build, with the folder here as the default.
#   build-with-codebuild.sh [FOLDER] [options of build_image_codebuild.py build]
set -euo pipefail
PROGRAM=$(cd "$(dirname "${BASH_SOURCE[0]}")/../src" && pwd)/build_image_codebuild.py
if (($# == 0)) || [[ $1 == -* && $1 != -h && $1 != --help ]]; then
  set -- . "$@"
fi
exec "${PYTHON:-python3}" "$PROGRAM" build "$@"
