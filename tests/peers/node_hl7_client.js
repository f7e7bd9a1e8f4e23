// node_hl7_client.js HOST PORT FILE...: sends each file's message on one connection, prints each acknowledgement.
const fs = require("fs");
const { Client, Message } = require("node-hl7-client");

const [host, port, ...files] = process.argv.slice(2);
let acknowledged = () => {};
const connection = new Client({ host }).createConnection({ port: Number(port) }, (response) => {
  process.stdout.write(response.getMessage().toString() + "\n");
  acknowledged();
});

async function main() {
  for (const file of files) {
    const answer = new Promise((resolve) => (acknowledged = resolve));
    await connection.sendMessage(new Message({ text: fs.readFileSync(file, "utf8") }));
    await answer;
  }
  process.exit(0);
}

setTimeout(() => process.exit(2), 20000);
main().catch((error) => {
  console.error(error.message);
  process.exit(1);
});
