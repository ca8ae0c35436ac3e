"""The embedded model zoo: small real classifiers with known truth, and the script that trained them."""
