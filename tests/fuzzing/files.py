"""Every kind of file that the project reads."""

from fuzzing import artefacts, networks, recordings, run_records

KINDS = (*networks.KINDS, *artefacts.KINDS, *run_records.KINDS, *recordings.KINDS)
