"""Run the command line: ``python -m securitynet_hub``."""

from securitynet_hub.cli.main import main

if __name__ == "__main__":
    main()
