"""audit

The audit of cases becomes the record of everything. Its rows are kept and wait to be chained. What had happened
to jobs before is written down once more from their rows, by the actor `migration`, so that a job without its
rows is a finding from now on.
"""

import sqlalchemy as sa
from alembic import op
from worker.store.session import Instant

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

KEPT = ("id", "at", "actor", "action", "job_id", "case_id", "delivery_id", "message_id", "subject_id",
        "attempt", "code", "sealed")

CASES = """INSERT INTO audit (id, at, actor, action, case_id, message_id, sealed)
 SELECT b.id, b.at, coalesce((SELECT m.channel || ':' || m.application FROM messages m WHERE m.id = b.message_id),
 'migration'), b.what, b.case_id, b.message_id, b.sealed FROM audit_before b"""
SUBMITTED = """INSERT INTO audit (id, at, actor, action, job_id)
 SELECT 'audit_submitted_' || id, created_at, 'migration', 'submitted', id FROM jobs"""
ENDED = """INSERT INTO audit (id, at, actor, action, job_id, attempt, code)
 SELECT 'audit_ended_' || id, coalesce(finished_at, created_at), 'migration',
 CASE status WHEN 'succeeded' THEN 'finished' ELSE status END, id, attempt, error_code
 FROM jobs WHERE status IN ('succeeded', 'failed', 'cancelled')"""
DELIVERED = """INSERT INTO audit (id, at, actor, action, job_id, delivery_id, subject_id, attempt)
 SELECT 'audit_delivered_' || id, coalesce(delivered_at, created_at), 'migration', 'delivered', job_id, id,
 endpoint_id, attempt FROM deliveries WHERE status = 'delivered'"""

# A row is born unchained, is chained once, and that is all that ever happens to it. `OR REPLACE` would delete
# a row without asking the trigger of deletions: hence the two looks for another row.
SQLITE = (
    f"""CREATE TRIGGER audit_only_grows BEFORE UPDATE ON audit WHEN OLD.seq IS NOT NULL OR NEW.seq IS NULL
 OR NEW.digest IS NULL OR EXISTS (SELECT 1 FROM audit WHERE seq = NEW.seq)
 OR {' OR '.join(f'NEW.{name} IS NOT OLD.{name}' for name in KEPT)}
 BEGIN SELECT RAISE(ABORT, 'rows of the audit are never changed'); END""",
    """CREATE TRIGGER audit_is_kept BEFORE DELETE ON audit
 BEGIN SELECT RAISE(ABORT, 'rows of the audit are never deleted'); END""",
    """CREATE TRIGGER audit_begins_unchained BEFORE INSERT ON audit WHEN NEW.seq IS NOT NULL
 OR NEW.digest IS NOT NULL OR EXISTS (SELECT 1 FROM audit WHERE id = NEW.id)
 BEGIN SELECT RAISE(ABORT, 'rows of the audit begin unchained'); END""",
    """CREATE TRIGGER audit_head_goes_up BEFORE UPDATE ON audit_head WHEN NEW.seq <= OLD.seq OR NEW.id <> OLD.id
 BEGIN SELECT RAISE(ABORT, 'the head of the audit only goes up'); END""",
    """CREATE TRIGGER audit_head_is_kept BEFORE DELETE ON audit_head
 BEGIN SELECT RAISE(ABORT, 'the head of the audit is never deleted'); END""",
    """CREATE TRIGGER audit_head_is_one BEFORE INSERT ON audit_head
 BEGIN SELECT RAISE(ABORT, 'the audit has one head'); END""",
)
POSTGRESQL = (
    """CREATE FUNCTION pathlane_audit_is_append_only() RETURNS trigger LANGUAGE plpgsql AS
 $$ BEGIN RAISE EXCEPTION 'the audit is append-only'; END $$""",
    f"""CREATE TRIGGER audit_only_grows BEFORE UPDATE ON audit FOR EACH ROW WHEN (OLD.seq IS NOT NULL
 OR NEW.seq IS NULL OR NEW.digest IS NULL
 OR {' OR '.join(f'NEW.{name} IS DISTINCT FROM OLD.{name}' for name in KEPT)})
 EXECUTE FUNCTION pathlane_audit_is_append_only()""",
    """CREATE TRIGGER audit_begins_unchained BEFORE INSERT ON audit FOR EACH ROW
 WHEN (NEW.seq IS NOT NULL OR NEW.digest IS NOT NULL) EXECUTE FUNCTION pathlane_audit_is_append_only()""",
    """CREATE TRIGGER audit_is_kept BEFORE DELETE OR TRUNCATE ON audit FOR EACH STATEMENT
 EXECUTE FUNCTION pathlane_audit_is_append_only()""",
    """CREATE TRIGGER audit_head_goes_up BEFORE UPDATE ON audit_head FOR EACH ROW
 WHEN (NEW.seq <= OLD.seq OR NEW.id <> OLD.id) EXECUTE FUNCTION pathlane_audit_is_append_only()""",
    """CREATE TRIGGER audit_head_is_kept BEFORE INSERT OR DELETE OR TRUNCATE ON audit_head FOR EACH STATEMENT
 EXECUTE FUNCTION pathlane_audit_is_append_only()""",
)


def upgrade():
    # A copy, not a new name: PostgreSQL's names of constraints would stay behind.
    op.execute("CREATE TABLE audit_before AS SELECT * FROM audit")
    op.drop_table('audit')
    op.create_table('audit',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('at', Instant(), nullable=False),
    sa.Column('actor', sa.Text(), nullable=False),
    sa.Column('action', sa.Text(), nullable=False),
    sa.Column('job_id', sa.Text(), nullable=True),
    sa.Column('case_id', sa.Text(), nullable=True),
    sa.Column('delivery_id', sa.Text(), nullable=True),
    sa.Column('message_id', sa.Text(), nullable=True),
    sa.Column('subject_id', sa.Text(), nullable=True),
    sa.Column('attempt', sa.SmallInteger(), nullable=True),
    sa.Column('code', sa.Text(), nullable=True),
    sa.Column('sealed', sa.LargeBinary(), nullable=True),
    sa.Column('seq', sa.BigInteger(), nullable=True),
    sa.Column('digest', sa.LargeBinary(), nullable=True),
    sa.PrimaryKeyConstraint('id')
    )
    head = op.create_table('audit_head',
    sa.Column('id', sa.SmallInteger(), autoincrement=False, nullable=False),
    sa.Column('seq', sa.BigInteger(), nullable=False),
    sa.Column('digest', sa.LargeBinary(), nullable=False),
    sa.PrimaryKeyConstraint('id')
    )
    op.bulk_insert(head, [{"id": 1, "seq": 0, "digest": bytes(32)}])
    for statement in (CASES, SUBMITTED, ENDED, DELIVERED):
        op.execute(statement)
    op.drop_table('audit_before')
    with op.batch_alter_table('audit', schema=None) as batch_op:
        batch_op.create_index('ix_audit_at', ['at'], unique=False)
        batch_op.create_index('ix_audit_job', ['job_id'], unique=False, postgresql_where=sa.text('job_id IS NOT NULL'), sqlite_where=sa.text('job_id IS NOT NULL'))
        batch_op.create_index('ix_audit_case', ['case_id'], unique=False, postgresql_where=sa.text('case_id IS NOT NULL'), sqlite_where=sa.text('case_id IS NOT NULL'))
        batch_op.create_index('ix_audit_seq', ['seq'], unique=True, postgresql_where=sa.text('seq IS NOT NULL'), sqlite_where=sa.text('seq IS NOT NULL'))
        batch_op.create_index('ix_audit_unchained', ['at', 'id'], unique=False, postgresql_where=sa.text('seq IS NULL'), sqlite_where=sa.text('seq IS NULL'))

    for statement in SQLITE if op.get_bind().dialect.name == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade():
    """The older table has rows of cases only: the others are lost, and so is the chain."""
    op.execute("CREATE TABLE audit_after AS SELECT * FROM audit WHERE case_id IS NOT NULL")
    op.drop_table('audit_head')
    op.drop_table('audit')
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION pathlane_audit_is_append_only()")
    op.create_table('audit',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('at', Instant(), nullable=False),
    sa.Column('case_id', sa.Text(), nullable=False),
    sa.Column('message_id', sa.Text(), nullable=True),
    sa.Column('what', sa.Text(), nullable=False),
    sa.Column('sealed', sa.LargeBinary(), nullable=False),
    sa.ForeignKeyConstraint(['case_id'], ['cases.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('audit', schema=None) as batch_op:
        batch_op.create_index('ix_audit_case', ['case_id'], unique=False)

    op.get_bind().execute(
        sa.text("INSERT INTO audit (id, at, case_id, message_id, what, sealed) SELECT id, at, case_id, message_id,"
                " action, coalesce(sealed, :nothing) FROM audit_after").bindparams(
            sa.bindparam("nothing", b"", sa.LargeBinary())))
    op.drop_table('audit_after')
