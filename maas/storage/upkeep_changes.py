"""Changes to the database that no user of memories asks for: the audit log, purges, claims."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, func, insert, select, update

from maas.ids import erased_id
from maas.records import AuditEntry, Scope
from maas.storage import statements
from maas.storage.reader import Reader
from maas.storage.tables import api_keys, audit_log, backups, upkeep


class UpkeepChanges(Reader):
    def add_audit(self, tenant: str, entry: AuditEntry) -> None:
        statements.ADD_AUDIT.run(self._driver, tenant_id=tenant, **vars(entry))

    def drop_audit(self, older: datetime) -> int:
        return self._connection.execute(delete(audit_log).where(audit_log.c.at < older)).rowcount

    def claim(self, task: str, at: datetime, unless_since: datetime) -> bool:
        last = self._connection.execute(select(upkeep.c.at).where(upkeep.c.task == task)).scalar()
        # A time to come was written by a clock that has been set back since.
        if last is not None and unless_since < last <= at:
            return False
        self._connection.execute(delete(upkeep).where(upkeep.c.task == task))
        self._connection.execute(insert(upkeep).values(task=task, at=at))
        return True

    def add_backup(self, path: str, sha256: str, made_at: datetime) -> None:
        self._connection.execute(insert(backups).values(path=path, sha256=sha256, made_at=made_at))

    def expire_api_key(self, tenant: str, key_id: str, at: datetime) -> None:
        ours = (api_keys.c.tenant_id == tenant, api_keys.c.id == key_id)
        self._connection.execute(update(api_keys).where(*ours).values(expires_at=at))

    def _hide_erased(self, scope: Scope) -> None:
        mine = (audit_log.c.tenant_id == scope.tenant, audit_log.c.user_id == scope.user_id)
        hidden = erased_id(scope.tenant, scope.user_id)
        self._connection.execute(update(audit_log).where(*mine).values(user_id=hidden))

    def _audited(self, scope: Scope) -> int:
        mine = (audit_log.c.tenant_id == scope.tenant, audit_log.c.user_id == scope.user_id)
        return self._connection.execute(select(func.count()).where(*mine)).scalar_one()
