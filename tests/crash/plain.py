"""Sessions over asynchronous plain gRPC, without the SDK's threads. The stubs must be on the path."""

import grpc
from stepback.v1 import common_pb2, model_pb2, model_pb2_grpc, training_pb2, training_pb2_grpc

# A connection of its own per channel.
TRIES = 5  # to open a session: a connection may be refused while hundreds arrive at once
OWN = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]


class Stubs:
    def __init__(self, address):
        self._address = address
        self._control = grpc.aio.insecure_channel(address)
        self.opened = 0

    async def create(self, name, lease_seconds):
        spec = model_pb2.ModelSpec(
            name=name,
            tensors=[common_pb2.Tensor(name="w", shape=[16], dtype=common_pb2.DATA_TYPE_F32)],
            lease_seconds=lease_seconds,
        )
        header = model_pb2.CreateModelRequest.Header(spec=spec, init=model_pb2.INITIALIZATION_ZEROS)
        request = model_pb2.CreateModelRequest(header=header)
        await model_pb2_grpc.ModelServiceStub(self._control).CreateModel(iter([request]))

    async def open(self, model, client_id):
        one = Session(grpc.aio.insecure_channel(self._address, OWN), model, client_id)
        await one.open()
        self.opened += 1
        return one

    async def alive(self, model):
        response = await model_pb2_grpc.ModelServiceStub(self._control).GetModel(
            model_pb2.GetModelRequest(name=model)
        )
        return response.model.sessions


class Session:
    def __init__(self, channel, model, client_id):
        self._training = training_pb2_grpc.TrainingServiceStub(channel)
        self._channel, self._model, self._client_id, self._epoch = channel, model, client_id, 0

    async def open(self):
        request = training_pb2.OpenSessionRequest(
            model=self._model, client_id=self._client_id, protocol_version=1
        )
        for _ in range(TRIES):
            try:
                answer = await self._training.OpenSession(request, timeout=60, wait_for_ready=True)
                self._epoch = answer.epoch
                return
            except grpc.RpcError as failed:
                error = failed
        raise error

    async def beat(self):
        """None, or the error."""
        request = training_pb2.HeartbeatRequest(
            model=self._model, client_id=self._client_id, epoch=self._epoch
        )
        try:
            await self._training.Heartbeat(request, timeout=60)
        except grpc.RpcError as error:
            return f"{error.code().name}: {error.details()}"
        return None
