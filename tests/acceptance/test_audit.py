"""Who asked, read and was told, on a whole stack: chained by its programs, verified by the command."""


def test_a_case_leaves_its_steps_and_the_chain_holds(up, ihc, tmp_path):
    file = tmp_path / "picture.png"
    ihc.save(file)
    job = up.submit(file, "--wait")
    with up.http as client:
        client.get(f"/v1/jobs/{job['id']}").raise_for_status()
    up.until(lambda: "audit.chained" in up.log())
    up.until(lambda: all(step["seq"] for step in up.json("audit", "show", job["id"])))
    steps = up.json("audit", "show", job["id"])
    assert [step["action"] for step in steps] == ["submitted", "claimed", "finished", "read", "read"]
    assert [step["actor"].split(":")[0] for step in steps] == ["cli", "worker", "worker", "cli", "key"]
    head = up.run("audit", "head").strip()
    assert up.json("audit", "verify", "--anchor", head)["clean"] is True
    up.run("audit", "verify", "--anchor", f"1:{'0' * 64}", status=1)
