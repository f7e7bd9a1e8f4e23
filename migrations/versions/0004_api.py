"""api

Keys get scopes (all of them, where they had none) and an end; jobs get what lists are sorted and searched by;
deliveries may be of no job (test events) and keep their attempts; readings get reviews.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql
from worker.store.session import Instant

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None

SCOPES = """'["submit", "read", "review", "operate"]'"""
LEVELS = "CASE {priority} WHEN 'stat' THEN 0 WHEN 'urgent' THEN 1 WHEN 'routine' THEN 2 ELSE level END"
FIELD = {"sqlite": "json_extract(request, '$.{name}')", "postgresql": "request->>'{name}'"}

LISTED = ('pending', 'exhausted', 'gone', 'dropped')

SQLITE = (
    """CREATE TRIGGER reviews_are_kept BEFORE DELETE ON reviews
 BEGIN SELECT RAISE(ABORT, 'reviews are never deleted'); END""",
    """CREATE TRIGGER reviews_stay_as_they_are BEFORE UPDATE ON reviews
 BEGIN SELECT RAISE(ABORT, 'reviews are never changed'); END""",
    """CREATE TRIGGER reviews_are_not_replaced BEFORE INSERT ON reviews
 WHEN EXISTS (SELECT 1 FROM reviews WHERE id = NEW.id)
 BEGIN SELECT RAISE(ABORT, 'reviews are never changed'); END""",
)
POSTGRESQL = (
    """CREATE FUNCTION pathlane_reviews_are_append_only() RETURNS trigger LANGUAGE plpgsql AS
 $$ BEGIN RAISE EXCEPTION 'reviews are append-only'; END $$""",
    """CREATE TRIGGER reviews_are_kept BEFORE UPDATE OR DELETE OR TRUNCATE ON reviews FOR EACH STATEMENT
 EXECUTE FUNCTION pathlane_reviews_are_append_only()""",
)


def upgrade():
    kind = op.get_bind().dialect.name
    with op.batch_alter_table('api_keys', schema=None) as batch_op:
        batch_op.add_column(sa.Column('scopes', JSON, server_default='[]', nullable=False))
        batch_op.add_column(sa.Column('expires_at', Instant(), nullable=True))
    op.execute(f"UPDATE api_keys SET scopes = {SCOPES}")

    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.add_column(sa.Column('asked_level', sa.SmallInteger(), server_default='2', nullable=False))
        batch_op.add_column(sa.Column('correlation_id', sa.Text(), nullable=True))
        batch_op.add_column(sa.Column('rerun_of', sa.Text(), nullable=True))
    field = FIELD[kind]
    levels = LEVELS.format(priority=field.format(name="priority"))
    # As a text, lest SQLAlchemy takes JSON's colons for parameters.
    op.get_bind().exec_driver_sql(
        f"UPDATE jobs SET asked_level = {levels}, correlation_id = {field.format(name='correlation_id')}")
    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.create_index('ix_jobs_newest', ['asked_level', 'status', 'created_at', 'id'], unique=False)
        batch_op.create_index('ix_jobs_worklist', ['asked_level', 'status', 'due_order', 'created_at', 'id'], unique=False)
        batch_op.create_index('ix_jobs_correlation', ['correlation_id'], unique=False, postgresql_where=sa.text('correlation_id IS NOT NULL'), sqlite_where=sa.text('correlation_id IS NOT NULL'))

    with op.batch_alter_table('cases', schema=None) as batch_op:
        batch_op.create_index('ix_cases_accession', ['accession', 'slide'], unique=False)
        batch_op.create_index('ix_cases_slide', ['slide'], unique=False)

    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        batch_op.alter_column('job_id', existing_type=sa.Text(), nullable=True)
        batch_op.create_index('ix_deliveries_newest', ['created_at', 'id'], unique=False)
        for status in LISTED:
            where = sa.text(f"status = '{status}'")
            batch_op.create_index(f'ix_deliveries_{status}', ['created_at', 'id'], unique=False, postgresql_where=where, sqlite_where=where)

    op.create_table('delivery_attempts',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('delivery_id', sa.Text(), nullable=False),
    sa.Column('attempt', sa.SmallInteger(), nullable=False),
    sa.Column('at', Instant(), nullable=False),
    sa.Column('status', sa.Text(), nullable=False),
    sa.Column('http_status', sa.Integer(), nullable=True),
    sa.Column('reason', sa.Text(), nullable=True),
    sa.Column('sealed_answer', sa.LargeBinary(), nullable=True),
    sa.ForeignKeyConstraint(['delivery_id'], ['deliveries.id'], ),
    sa.PrimaryKeyConstraint('id')
    )
    with op.batch_alter_table('delivery_attempts', schema=None) as batch_op:
        batch_op.create_index('ix_delivery_attempts', ['delivery_id', 'at', 'id'], unique=False)

    op.create_table('reviews',
    sa.Column('id', sa.Text(), nullable=False),
    sa.Column('job_id', sa.Text(), nullable=False),
    sa.Column('created_at', Instant(), nullable=False),
    sa.Column('reviewer', sa.Text(), nullable=False),
    sa.Column('idempotency_key', sa.Text(), nullable=True),
    sa.Column('verdict', sa.Text(), nullable=False),
    sa.Column('comment', sa.Text(), nullable=False),
    sa.Column('corrected_answer', sa.Text(), nullable=True),
    sa.ForeignKeyConstraint(['job_id'], ['jobs.id'], ),
    sa.PrimaryKeyConstraint('id'),
    sa.UniqueConstraint('reviewer', 'idempotency_key')
    )
    with op.batch_alter_table('reviews', schema=None) as batch_op:
        batch_op.create_index('ix_reviews_job', ['job_id', 'created_at', 'id'], unique=False)

    for statement in SQLITE if kind == "sqlite" else POSTGRESQL:
        op.execute(statement)


def downgrade():
    """Reviews, attempts and test events are lost, and every key may do everything again."""
    op.drop_table('reviews')
    if op.get_bind().dialect.name == "postgresql":
        op.execute("DROP FUNCTION pathlane_reviews_are_append_only()")
    op.drop_table('delivery_attempts')
    op.execute("DELETE FROM deliveries WHERE job_id IS NULL")
    with op.batch_alter_table('deliveries', schema=None) as batch_op:
        for status in ('newest', *LISTED):
            batch_op.drop_index(f'ix_deliveries_{status}')
        batch_op.alter_column('job_id', existing_type=sa.Text(), nullable=False)

    with op.batch_alter_table('cases', schema=None) as batch_op:
        batch_op.drop_index('ix_cases_slide')
        batch_op.drop_index('ix_cases_accession')

    with op.batch_alter_table('jobs', schema=None) as batch_op:
        batch_op.drop_index('ix_jobs_correlation', postgresql_where=sa.text('correlation_id IS NOT NULL'), sqlite_where=sa.text('correlation_id IS NOT NULL'))
        batch_op.drop_index('ix_jobs_worklist')
        batch_op.drop_index('ix_jobs_newest')
    for table, columns in (('jobs', ('rerun_of', 'correlation_id', 'asked_level')), ('api_keys', ('expires_at', 'scopes'))):
        for column in columns:
            op.execute(f"ALTER TABLE {table} DROP COLUMN {column}")
