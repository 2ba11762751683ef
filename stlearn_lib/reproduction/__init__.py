"""Every published table as a runnable experiment, and one ledger of what came out."""
