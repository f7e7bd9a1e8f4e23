// medplum_server.mjs PORT [AA|AE|AR]: prints each message as one JSON line, and acknowledges it with the code.
import { Hl7Server } from "@medplum/hl7";

const port = Number(process.argv[2]);
const ackCode = process.argv[3] ?? "AA";
const server = new Hl7Server((connection) => {
  connection.addEventListener("message", ({ message }) => {
    console.log(JSON.stringify({ message: message.toString() }));
    connection.send(message.buildAck({ ackCode }));
  });
});
await server.start(port, "utf-8");
console.log(JSON.stringify({ listening: port }));
