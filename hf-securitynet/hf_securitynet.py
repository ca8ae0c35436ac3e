"""``hf securitynet``: the command line of SecurityNet Hub as an extension of ``hf``."""


def main() -> None:
    """Run ``securitynet`` with the words that follow ``hf securitynet``."""
    from securitynet_hub.cli.main import main as securitynet

    securitynet()
