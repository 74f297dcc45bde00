"""Average of the workers' weights (FedAvg at alpha = 1)."""

KIND = "outer"
CASES = {"fedavg": {"alpha": 1.0}, "half": {"alpha": 0.5}}
# Final weights as the algorithm specification prints them: a slip in the equations below shows too.
PUBLISHED = {"fedavg": [0.45], "half": [0.725]}


class Rule:
    def __init__(self, alpha):
        self.alpha = alpha

    def step(self, phi, delta):
        return phi - self.alpha * delta
