"""The only room that speaks SQL: what was accepted, what became of it, who is to be told.

In and out: the values of `worker.jobs`. Each public method is one transaction. It does not know
Celery, images or models; it is the system of record, and everything else may be lost.
"""
