#!/usr/bin/env bash
# Check and time the GPU path on a machine with python3, torch >= 2.11 and what README.md beside this lists; no Prefect,
# MLflow or DVC is needed. Usage: benchmarks/gpu/check.sh OUT [--device cuda] [--small] [--only SECTION ...]
set -euo pipefail
cd "$(dirname "$0")/../.."
export PYTHONUNBUFFERED=1 CUBLAS_WORKSPACE_CONFIG=:4096:8 PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
exec "${PYTHON:-python3}" -m benchmarks.gpu.check "$@"
