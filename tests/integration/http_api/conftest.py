"""An API over a real store; the broker is a list of rings."""

import pytest
from fastapi.testclient import TestClient

from integrations.http_api.app import create_app
from integrations.http_api.feed import Feed
from integrations.http_api.history import History
from integrations.http_api.limits import Limits
from integrations.http_api.state import Api, Stores
from worker.jobs.scope import Scope
from worker.store import schema
from worker.store.audit import Audit
from worker.store.changes import Changes
from worker.store.deliveries import Deliveries
from worker.store.endpoints import Endpoints
from worker.store.jobs import Jobs
from worker.store.keys import Keys
from worker.store.listing import Listing
from worker.store.outbox import Outbox
from worker.store.passes import Passes
from worker.store.presence import Workers
from worker.store.reviews import Reviews
from worker.store.sealing import Seal

KEY = "pl_test"
BODY = {"images": [{"reference": "upload:sha256-" + "0" * 64}], "question": "Which stain is shown?"}
SEAL = Seal([Seal.new_key()])
SECRET = "whsec_" + "c2VjcmV0" * 6


def an_api(database, uploads_dir, **parts):
    stores = Stores(
        jobs=Jobs(database, public_url="https://pathlane.example"), listing=Listing(database),
        reviews=Reviews(database), outbox=Outbox(database, SEAL), deliveries=Deliveries(database, SEAL),
        endpoints=Endpoints(database), keys=Keys(database), passes=Passes(database), changes=Changes(database), audit=Audit(database),
    )  # fmt: skip
    usual = {
        "stores": stores, "uploads_dir": uploads_dir, "max_upload_bytes": 1000, "reserve_bytes": 0,
        "max_body_bytes": 100_000, "ring": lambda: None, "checks": {"database": lambda: schema.check(database)},
        "workers": lambda: Workers(database).alive(within_seconds=60), "limits": Limits(per_second=0, burst=1),
        "feed": Feed(stores.changes, seconds=0.05), "history": History(stores.jobs.queue),
        "new_secret": lambda: SECRET,
    }  # fmt: skip
    return Api(**usual | parts)


@pytest.fixture
def rings():
    return []


@pytest.fixture
def api(database, tmp_path, rings):
    Keys(database).add("lab", KEY)
    return an_api(database, tmp_path / "uploads", ring=lambda: rings.append("ring"), max_body_bytes=10_000)


@pytest.fixture
def client(api):
    with TestClient(create_app(api), headers={"authorization": f"Bearer {KEY}"}) as client:
        yield client


@pytest.fixture
def with_scopes(client, api):
    """The headers of a new key that may do only so much."""

    def made(*scopes, name="narrow", **ends):
        key = f"pl_{name}_{'_'.join(scopes)}"
        api.stores.keys.add(name, key, scopes=[Scope(scope) for scope in scopes], **ends)
        return {"authorization": f"Bearer {key}"}

    return made
