"""Webhooks: a Delivery becomes one signed HTTP request, and its answer an Outcome.

In: a delivery, a client, the time, a chance. Out: an Outcome that says delivered, due later, exhausted or
gone. Nothing here knows the database, the queue or the model.
"""
