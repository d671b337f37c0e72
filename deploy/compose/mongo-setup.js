// Creates the replica set rs0 with one member, and for each service's database a role with the same name, which can open only
// this database. Run by mongosh. It can be run again: it adds missing roles, and sets the passwords to those of the environment.
const HOST = "mongo:27017"; // how the services reach it
const ROLES = {
  notification: "NOTIFICATION_DB_PASSWORD",
  audit: "AUDIT_DB_PASSWORD",
};
const NOT_YET_INITIALIZED = 94;
const DEADLINE = 60_000; // milliseconds

function password(variable) {
  const value = process.env[variable];
  if (!value) {
    throw new Error(`${variable} is not set`);
  }
  return value;
}

function initiated() {
  try {
    admin.runCommand({ replSetGetStatus: 1 });
    return true;
  } catch (error) {
    if (error.code === NOT_YET_INITIALIZED) {
      return false;
    }
    throw error;
  }
}

const admin = connect(`mongodb://${HOST}/admin?directConnection=true`);
admin.auth("root", password("MONGO_PASSWORD"));

if (!initiated()) {
  admin.runCommand({ replSetInitiate: { _id: "rs0", members: [{ _id: 0, host: HOST }] } });
}
const end = Date.now() + DEADLINE;
while (!admin.hello().isWritablePrimary) {
  if (Date.now() > end) {
    throw new Error(`${HOST} did not become primary in ${DEADLINE / 1000} s`);
  }
  sleep(100);
}

for (const [name, variable] of Object.entries(ROLES)) {
  const database = admin.getSiblingDB(name);
  const role = { pwd: password(variable), roles: [{ role: "readWrite", db: name }] };
  if (database.getUser(name)) {
    database.updateUser(name, role);
  } else {
    database.createUser({ user: name, ...role });
  }
}
print(`${HOST} is a replica set; roles: ${Object.keys(ROLES).join(", ")}`);
