"""Who it is: tokens bound to keys, proofs of possession, certificates; and the connector on the operator's machine."""
