"""Ask by Celery, without a word of Pathlane's code: celery_send_task.py BROKER-URL REFERENCE CORRELATION-ID.

There is no answer on this way: the endpoints that are subscribed are told.
"""

import sys

from celery import Celery

broker, reference, correlation_id = sys.argv[1:]

app = Celery(broker=broker)
app.conf.broker_transport_options = {"global_keyprefix": "pathlane:"}
app.send_task(
    "pathlane.submit",
    queue="pathlane.submit",
    args=[
        {
            "images": [{"reference": reference}],
            "question": "Which stain is shown?",
            "options": ["Hematoxylin and eosin", "Immunohistochemistry with DAB", "No tissue"],
            "idempotency_key": correlation_id,
            "correlation_id": correlation_id,
        }
    ],
)
