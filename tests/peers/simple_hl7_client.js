// simple_hl7_client.js HOST PORT FILE...: sends each file's message on one connection, prints each acknowledgement.
const fs = require("fs");
const hl7 = require("simple-hl7");

const [host, port, ...files] = process.argv.slice(2);
const client = hl7.Server.createTcpClient({ host, port: Number(port), keepalive: true, callback: () => {} });
const parser = new hl7.Parser();

function next() {
  const file = files.shift();
  if (file === undefined) process.exit(0);
  client.send(parser.parse(fs.readFileSync(file, "utf8")), (error, ack) => {
    if (error) {
      console.error(error.message);
      process.exit(1);
    }
    process.stdout.write(ack.toString() + "\n");
    setImmediate(next); // it still waits for this answer while it tells us of it
  });
}

setTimeout(() => process.exit(2), 20000);
next();
