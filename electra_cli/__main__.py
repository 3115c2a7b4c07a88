"""Make `python -m electra_cli` work like `electra`."""

import sys

from electra_cli.cli.main import main

sys.exit(main())
