"""moto's server, with what its CloudFormation lacks."""

from moto.server import main

from tests.components.aws import stack_bucket as stack_bucket  # moto finds the resources as classes that exist

if __name__ == "__main__":
    main()
