"""traces

A job keeps the W3C `traceparent` that its submitter sent, so that its spans join the submitter's trace.
"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade():
    op.add_column('jobs', sa.Column('traceparent', sa.Text(), nullable=True))


def downgrade():
    op.drop_column('jobs', 'traceparent')
