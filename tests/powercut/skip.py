"""What ends a run with status 77: something this machine does not have."""


class Skip(Exception):
    pass
