"""What is asked of each server: the same 200 bytes, read, written and watched, from Vestry and from etcd."""

from __future__ import annotations

from dataclasses import dataclass

from vestry.v1 import config_pb2 as pb
from vestry.v1 import secrets_pb2

PAYLOAD_BYTES = 200
NUMBER = b"<the number>"  # stands in a message where each call has its own number, in as many digits
POINTER = "service.note"


@dataclass(frozen=True, slots=True)
class Call:
    """A call of one method. Its message may have the call's number in it, so that each write differs from the last."""

    path: str
    template: bytes
    half_close: bool = True

    def message(self, number: int) -> bytes:
        """Return the message of the call with a number."""
        return self.template.replace(NUMBER, numbered(number))


def numbered(number: int) -> bytes:
    """Return how a number stands in messages and values: whoever sees these bytes has that write."""
    return b"%0*d" % (len(NUMBER), number)


def payload(number: int) -> bytes:
    """Return the value that is written with a number: 200 bytes of JSON."""
    return PAYLOAD.replace(NUMBER, numbered(number))


def _payload() -> bytes:
    frame = b'{"service":{"note":"%s"}}'  # canonical, as Vestry gives it back
    return frame % NUMBER.rjust(PAYLOAD_BYTES - len(frame % b""), b".")


PAYLOAD = _payload()


# Vestry


def get_config(namespace: str) -> Call:
    """Read a namespace's document."""
    return Call("/vestry.v1.ConfigService/GetConfig", pb.GetConfigRequest(namespace=namespace).SerializeToString())


def update_config(namespace: str) -> Call:
    """Write a namespace's runtime layer."""
    request = pb.UpdateConfigRequest(namespace=namespace, merge_patch=PAYLOAD)
    return Call("/vestry.v1.ConfigService/UpdateConfig", request.SerializeToString())


def watch_config(namespace: str) -> Call:
    """Watch a namespace."""
    request = pb.WatchConfigRequest(namespaces=[namespace])
    return Call("/vestry.v1.ConfigService/WatchConfig", request.SerializeToString())


def put_secret(namespace: str, name: str) -> Call:
    """Write a secret whose value is the payload."""
    request = secrets_pb2.PutSecretRequest(namespace=namespace, name=name, value=PAYLOAD)
    return Call("/vestry.v1.SecretsService/PutSecret", request.SerializeToString())


def access_secret(namespace: str, name: str) -> Call:
    """Read a secret's value."""
    request = secrets_pb2.AccessSecretRequest(namespace=namespace, name=name)
    return Call("/vestry.v1.SecretsService/AccessSecret", request.SerializeToString())


def rotate_keyring() -> Call:
    """Make a new key in the keyring, so that everything is wrapped again."""
    return Call("/vestry.v1.SecretsService/RotateKeyring", secrets_pb2.RotateKeyringRequest().SerializeToString())


def rewrap_status() -> Call:
    """Ask how far the wrapping has come."""
    return Call("/vestry.v1.SecretsService/RewrapStatus", secrets_pb2.RewrapStatusRequest().SerializeToString())


# etcd: the few fields that are needed, by their numbers in api/etcdserverpb/rpc.proto


def range_of(key: str, *, serializable: bool) -> Call:
    """Read a key, from this member alone or, linearizably, as the cluster agrees: RangeRequest.key, .serializable."""
    return Call("/etcdserverpb.KV/Range", _field(1, key.encode()) + (b"\x38\x01" if serializable else b""))


def put(key: str) -> Call:
    """Write a key: PutRequest.key, .value."""
    return Call("/etcdserverpb.KV/Put", _field(1, key.encode()) + _field(2, PAYLOAD))


def watch_key(key: str) -> Call:
    """Watch a key: WatchRequest.create_request, WatchCreateRequest.key. etcd ends the watch when the caller has done so."""
    return Call("/etcdserverpb.Watch/Watch", _field(1, _field(1, key.encode())), half_close=False)


def _field(number: int, content: bytes) -> bytes:
    """Encode a length-delimited field of protobuf."""
    size = len(content)
    length = bytes([size]) if size < 128 else bytes([size & 127 | 128, size >> 7])
    return bytes([number << 3 | 2]) + length + content
