"""A model beside the trained ones that is created, labelled, imported into, restored and deleted."""

import numpy as np

import stepback

NAME = "side"
SIZE = 1000
VALUES = (0.0, 1.0)  # as created or restored; as imported
ERRORS = (stepback.StepbackError, OSError)


def live(address, folder):
    """A whole life of it; ends with the server, wherever that dies."""
    try:
        with stepback.connect(address, connect_timeout=2, give_up_after=0.2) as server:
            model = server.create_model(NAME, {"x": np.zeros(SIZE, np.float32)}, mode="delta",
                                        outer=stepback.average())
            with model.join("operator") as worker:
                worker.pull()
            model.save_snapshot("zeros")
            model.import_weights(ones_file(folder))
            model.restore_snapshot("zeros")
            model.delete()
    except ERRORS:
        pass


def check(address):
    """What is wrong with it after a crash: it is there whole, with one of its values, or not at all."""
    with stepback.connect(address, connect_timeout=10) as server:
        try:
            model = server.model(NAME)
        except stepback.NotFoundError:
            return []
        values = set(np.unique(model.pull()["x"]).tolist())
        model.delete()
    whole = len(values) == 1 and values <= set(VALUES)
    return [] if whole else [f"model '{NAME}' holds {sorted(values)[:4]}, expected one of {VALUES}"]


def ones_file(folder):
    """A safetensors file of ones."""
    header = b'{"x":{"dtype":"F32","shape":[%d],"data_offsets":[0,%d]}}' % (SIZE, 4 * SIZE)
    path = f"{folder}/ones.safetensors"
    with open(path, "wb") as file:
        file.write(len(header).to_bytes(8, "little") + header + np.ones(SIZE, np.float32).tobytes())
    return path
