"""The audit log, for whoever reads or verifies it: records, checkpoints, and the verifier.

Needs the package `cryptography` (vestry[cli] has it), so `import vestry` doesn't import this.
"""

from vestry.audit_checkpoint import Checkpoint, decode_checkpoint, encode_checkpoint, load_public_key
from vestry.audit_files import load_verification_key, open_log
from vestry.audit_record import Fact, Outcome, Record, decode, encode
from vestry.audit_verify import Problem, ProblemKind, Segment, Verdict, verify

__all__ = [
    "Checkpoint",
    "Fact",
    "Outcome",
    "Problem",
    "ProblemKind",
    "Record",
    "Segment",
    "Verdict",
    "decode",
    "decode_checkpoint",
    "encode",
    "encode_checkpoint",
    "load_public_key",
    "load_verification_key",
    "open_log",
    "verify",
]
