"""`python -m flows.cli`: the `fewshot` command."""

import sys

from flows.cli.app import main

sys.exit(main())
