// medplum_client.mjs HOST PORT FILE...: sends each file's message on one connection, prints each acknowledgement.
import fs from "node:fs";
import { Hl7Message } from "@medplum/core";
import { Hl7Client } from "@medplum/hl7";

const [host, port, ...files] = process.argv.slice(2);
const client = new Hl7Client({ host, port: Number(port), encoding: "utf-8", keepAlive: true });
setTimeout(() => process.exit(2), 20000);
for (const file of files) {
  const ack = await client.sendAndWait(Hl7Message.parse(fs.readFileSync(file, "utf8")));
  process.stdout.write(ack.toString() + "\n");
}
await client.close();
process.exit(0);
