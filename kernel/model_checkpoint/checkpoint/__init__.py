"""The pipelines of saving, loading, verifying and resuming, free of any framework.

::

    save    before hooks -> capture -> staged -> backend writes -> rank, commit -> refs -> after hooks
    load    resolve -> before hooks -> backend reads and verifies -> check everything -> restore -> after hooks
    resume  newest checkpoint of the run that verifies -> load -> random streams
"""
