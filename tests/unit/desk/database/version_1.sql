BEGIN TRANSACTION;
CREATE TABLE activity (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	issue_id TEXT NOT NULL, 
	session_id TEXT, 
	type TEXT NOT NULL, 
	actor_id TEXT, 
	detail TEXT NOT NULL, 
	from_status TEXT, 
	to_status TEXT, 
	metadata JSON, 
	resources JSON NOT NULL, 
	referenced_issues JSON NOT NULL, 
	created_at TEXT NOT NULL, 
	FOREIGN KEY(org_id, issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE, 
	UNIQUE (org_id, id)
);
INSERT INTO "activity" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','0a7a4366-3b36-4a2e-95e3-60dc2a240df0','2097a23f-45dd-485b-b054-cb8b7f19b0e4',NULL,'created','58726309-c2b1-466c-9347-de04e5f22f22','Created the issue.',NULL,NULL,NULL,'[]','[]','2026-05-06T21:09:57.082Z');
INSERT INTO "activity" VALUES(2,'2806b722-0295-4ca7-a537-b68876575140','488cec9c-f748-40ad-8c0c-d5b10cee8996','d4825aa0-2873-4447-9cce-c9061ef3bdec',NULL,'created','58726309-c2b1-466c-9347-de04e5f22f22','Created the issue.',NULL,NULL,NULL,'[]','[]','2026-05-06T21:09:57.083Z');
INSERT INTO "activity" VALUES(3,'2806b722-0295-4ca7-a537-b68876575140','ae7f3a0a-701c-407c-a38b-d3d13cea7bca','3ef7ca29-ba96-4ee7-87cd-0cb3c5dedfc6',NULL,'created','58726309-c2b1-466c-9347-de04e5f22f22','Created the issue.',NULL,NULL,NULL,'[]','[]','2026-05-06T21:09:57.084Z');
INSERT INTO "activity" VALUES(4,'2806b722-0295-4ca7-a537-b68876575140','47aff794-9b50-4865-bdbb-65dbe640e014','0d06647a-d21a-48d7-bb64-fd871f123c1c',NULL,'created','58726309-c2b1-466c-9347-de04e5f22f22','Created the issue.',NULL,NULL,NULL,'[]','[]','2026-05-06T21:09:57.085Z');
INSERT INTO "activity" VALUES(5,'2806b722-0295-4ca7-a537-b68876575140','f8e25057-29da-465f-95c6-f2fef6815212','2097a23f-45dd-485b-b054-cb8b7f19b0e4',NULL,'resource_added','58726309-c2b1-466c-9347-de04e5f22f22','Attached a resource.',NULL,NULL,NULL,'[{"id":"6f772ac6-0e52-4129-ad50-d4491ad3b470","issue_id":"2097a23f-45dd-485b-b054-cb8b7f19b0e4","org_id":"2806b722-0295-4ca7-a537-b68876575140","resource_type":"call","resource_id":"call-card","title":"Caller lost a debit card and asked for a new one.","metadata":{"created_at":"2026-05-01T10:00:00.000Z"},"attached_by_id":"58726309-c2b1-466c-9347-de04e5f22f22","created_at":"2026-05-06T21:09:57.086Z","status":"available"}]','[]','2026-05-06T21:09:57.086Z');
INSERT INTO "activity" VALUES(6,'2806b722-0295-4ca7-a537-b68876575140','dbf0492e-951e-492f-b510-0b919ff80ad3','d4825aa0-2873-4447-9cce-c9061ef3bdec',NULL,'resource_added','58726309-c2b1-466c-9347-de04e5f22f22','Attached a resource.',NULL,NULL,NULL,'[{"id":"4cfc609a-8736-4f24-b0d1-02443ad761e3","issue_id":"d4825aa0-2873-4447-9cce-c9061ef3bdec","org_id":"2806b722-0295-4ca7-a537-b68876575140","resource_type":"call","resource_id":"call-card","title":"Caller lost a debit card and asked for a new one.","metadata":{"created_at":"2026-05-01T10:00:00.000Z"},"attached_by_id":"58726309-c2b1-466c-9347-de04e5f22f22","created_at":"2026-05-06T21:09:57.087Z","status":"available"}]','[]','2026-05-06T21:09:57.087Z');
INSERT INTO "activity" VALUES(7,'2806b722-0295-4ca7-a537-b68876575140','9757b8e9-8274-4a69-976c-49bdea6d78c4','2097a23f-45dd-485b-b054-cb8b7f19b0e4',NULL,'flag_added','58726309-c2b1-466c-9347-de04e5f22f22','Added a flag.',NULL,NULL,NULL,'[{"id":"6f772ac6-0e52-4129-ad50-d4491ad3b470","issue_id":"2097a23f-45dd-485b-b054-cb8b7f19b0e4","org_id":"2806b722-0295-4ca7-a537-b68876575140","resource_type":"call","resource_id":"call-card","title":"Caller lost a debit card and asked for a new one.","metadata":{"created_at":"2026-05-01T10:00:00.000Z"},"attached_by_id":"58726309-c2b1-466c-9347-de04e5f22f22","created_at":"2026-05-06T21:09:57.086Z","status":"available"}]','[]','2026-05-06T21:09:57.088Z');
INSERT INTO "activity" VALUES(8,'2806b722-0295-4ca7-a537-b68876575140','0d0e5ebc-1151-4b64-8fe7-340062897acf','2097a23f-45dd-485b-b054-cb8b7f19b0e4',NULL,'relation_added','58726309-c2b1-466c-9347-de04e5f22f22','Linked an issue.',NULL,NULL,'{"relation_id":"65e8fb02-0dc6-4054-ba3b-8d3875a267e9","relation_type":"blocks","direction":"outgoing"}','[]','[{"id":"d4825aa0-2873-4447-9cce-c9061ef3bdec","title":"Stra\u00dfe gesperrt","status":"todo","triage_id":"T-1002"}]','2026-05-06T21:09:57.089Z');
INSERT INTO "activity" VALUES(9,'2806b722-0295-4ca7-a537-b68876575140','54fececf-80d3-42b2-93db-248021a5b529','d4825aa0-2873-4447-9cce-c9061ef3bdec',NULL,'relation_added','58726309-c2b1-466c-9347-de04e5f22f22','Linked an issue.',NULL,NULL,'{"relation_id":"65e8fb02-0dc6-4054-ba3b-8d3875a267e9","relation_type":"blocks","direction":"incoming"}','[]','[{"id":"2097a23f-45dd-485b-b054-cb8b7f19b0e4","title":"Debit card lost","status":"todo","triage_id":"T-1001"}]','2026-05-06T21:09:57.089Z');
INSERT INTO "activity" VALUES(10,'2806b722-0295-4ca7-a537-b68876575140','8c234163-cd56-41db-a266-2d8adcdf8e89','2097a23f-45dd-485b-b054-cb8b7f19b0e4',NULL,'comment','58726309-c2b1-466c-9347-de04e5f22f22','@norm verify this',NULL,NULL,NULL,'[]','[]','2026-05-06T21:09:57.090Z');
INSERT INTO "activity" VALUES(11,'2806b722-0295-4ca7-a537-b68876575140','24859364-1055-4867-acf5-df0379a0ecb8','2097a23f-45dd-485b-b054-cb8b7f19b0e4','f2f76994-05e9-4ec0-a287-3e0e2a0ea961','session_started',NULL,'Norm session started.',NULL,NULL,NULL,'[]','[]','2026-05-06T21:09:57.090Z');
INSERT INTO "activity" VALUES(12,'2806b722-0295-4ca7-a537-b68876575140','0bbe8c85-6b2c-4487-80e8-ee744b9a767e','2097a23f-45dd-485b-b054-cb8b7f19b0e4','f2f76994-05e9-4ec0-a287-3e0e2a0ea961','prompt',NULL,'this',NULL,NULL,'{"run_id":"7def1533-b9ea-4e5a-9acd-df3b5be42f3a","intent":"verify"}','[]','[]','2026-05-06T21:09:57.090Z');
INSERT INTO "activity" VALUES(13,'2806b722-0295-4ca7-a537-b68876575140','58fd9dba-1922-4646-9b50-ee0a7cf85208','2097a23f-45dd-485b-b054-cb8b7f19b0e4','f2f76994-05e9-4ec0-a287-3e0e2a0ea961','action',NULL,'Read call call-card.',NULL,NULL,'{"run_id":"7def1533-b9ea-4e5a-9acd-df3b5be42f3a","intent":"verify"}','[]','[]','2026-05-06T21:09:57.290Z');
INSERT INTO "activity" VALUES(14,'2806b722-0295-4ca7-a537-b68876575140','88186ee0-5e32-467e-9a94-99e0df5f9895','2097a23f-45dd-485b-b054-cb8b7f19b0e4','f2f76994-05e9-4ec0-a287-3e0e2a0ea961','response',NULL,'Read 1 pieces of evidence. No change was made and none is proposed.',NULL,NULL,'{"run_id":"7def1533-b9ea-4e5a-9acd-df3b5be42f3a","intent":"verify"}','[]','[]','2026-05-06T21:09:57.490Z');
INSERT INTO "activity" VALUES(15,'2806b722-0295-4ca7-a537-b68876575140','9ccb3198-9536-49f5-85c1-3d2ccc82498b','d4825aa0-2873-4447-9cce-c9061ef3bdec',NULL,'status_changed','58726309-c2b1-466c-9347-de04e5f22f22','Changed the status.','todo','closed',NULL,'[]','[]','2026-05-06T21:09:57.091Z');
CREATE TABLE agent_runs (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	issue_id TEXT NOT NULL, 
	session_id TEXT NOT NULL, 
	intent TEXT NOT NULL, 
	started_at TEXT NOT NULL, 
	finished_at TEXT NOT NULL, 
	FOREIGN KEY(org_id, issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE, 
	UNIQUE (org_id, id)
);
INSERT INTO "agent_runs" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','7def1533-b9ea-4e5a-9acd-df3b5be42f3a','2097a23f-45dd-485b-b054-cb8b7f19b0e4','f2f76994-05e9-4ec0-a287-3e0e2a0ea961','verify','2026-05-06T21:09:57.090Z','2026-05-06T21:09:57.490Z');
CREATE TABLE agent_sessions (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	issue_id TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	FOREIGN KEY(org_id, issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE, 
	UNIQUE (org_id, id)
);
INSERT INTO "agent_sessions" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','f2f76994-05e9-4ec0-a287-3e0e2a0ea961','2097a23f-45dd-485b-b054-cb8b7f19b0e4','2026-05-06T21:09:57.090Z');
CREATE TABLE api_keys (
	digest TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	PRIMARY KEY (digest)
);
INSERT INTO "api_keys" VALUES('d1dbd9bd659aa97a41e3a304537d1ac866e16b2023d60300179660b39c0730e8','5acf98ba-0a34-4859-ab04-3e07fbb9a12a','ea935017-e585-4559-8ae2-91ab9318139f');
CREATE TABLE attachment_labels (
	org_id TEXT NOT NULL, 
	attachment_id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (org_id, attachment_id, name), 
	FOREIGN KEY(org_id, attachment_id) REFERENCES attachments (org_id, id) ON DELETE CASCADE
);
CREATE TABLE attachments (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	object_key TEXT NOT NULL, 
	name TEXT NOT NULL, 
	size INTEGER NOT NULL, 
	type TEXT NOT NULL, 
	metadata JSON, 
	blob TEXT NOT NULL, 
	sha256 TEXT NOT NULL, 
	md5 TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	UNIQUE (org_id, name), 
	UNIQUE (org_id, id), 
	UNIQUE (object_key)
);
CREATE TABLE calls (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	summary TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	record JSON NOT NULL, 
	events JSON NOT NULL, 
	corrected JSON, 
	digest TEXT NOT NULL, 
	UNIQUE (org_id, id)
);
INSERT INTO "calls" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','call-card','Caller lost a debit card and asked for a new one.','2026-05-01T10:00:00.000Z','2026-11-25T01:47:35.135Z','{"call_id":"call-card","created_at":"2026-05-01T10:00:00.000Z","summary":"Caller lost a debit card and asked for a new one.","transcripts":[{"id":0,"user":"assistant","text":"hello this is harper valley national bank"},{"id":1,"user":"user","text":"hi my name is patricia brown"},{"id":2,"user":"assistant","text":"how can i help you today"},{"id":3,"user":"user","text":"i lost my debit card can you send me a new one"},{"id":4,"user":"assistant","text":"which card would you like to replace"},{"id":5,"user":"user","text":"my debit card"},{"id":6,"user":"assistant","text":"your card is on the way"},{"id":7,"user":"user","text":"thank you that''s all"}],"concatenated_transcript":"assistant: hello this is harper valley national bank\nuser: hi my name is patricia brown\nassistant: how can i help you today\nuser: i lost my debit card can you send me a new one\nassistant: which card would you like to replace\nuser: my debit card\nassistant: your card is on the way\nuser: thank you that''s all","metadata":{}}','[]',NULL,'992d7c65bfd80eeeca80612e354774346b258d22e7340e29d70326bbdeca980b');
INSERT INTO "calls" VALUES(2,'2806b722-0295-4ca7-a537-b68876575140','call-hours','Caller asked for branch hours.','2026-05-01T10:00:00.000Z','2026-11-25T01:47:35.138Z','{"call_id":"call-hours","created_at":"2026-05-01T10:00:00.000Z","summary":"Caller asked for branch hours.","transcripts":[{"id":0,"user":"assistant","text":"hello"},{"id":1,"user":"user","text":"what are your hours"},{"id":2,"user":"assistant","text":"nine thirty to five"}],"concatenated_transcript":"assistant: hello\nuser: what are your hours\nassistant: nine thirty to five","metadata":{}}','[]',NULL,'28cbd70d535d268e149dd3ae86bf6a978c7d68503449452926772e7899a8d4b8');
INSERT INTO "calls" VALUES(3,'2806b722-0295-4ca7-a537-b68876575140','call-rich','Call of 2026-05-01T10:00:00.000Z','2026-05-01T10:00:00.000Z','2026-11-25T01:47:35.141Z','{"call_id":"call-rich","created_at":"2026-05-01T10:00:00.000Z","summary":null,"transcripts":[{"id":0,"user":"assistant","text":"hello"},{"id":1,"user":"user","text":"bye"}],"concatenated_transcript":"assistant: hello\nuser: bye","metadata":{"from":"+15550100","to":"+15550111","answered_by":"human","batch_id":"b-1","completed":true,"inbound":false,"ended_at":"2026-05-01T10:03:00.000Z"},"call_length":3.0,"end_at":"2026-05-01T10:03:00.000Z"}','[]',NULL,'7cc8780fde57bbbe8bea7bfc41f9b41bcf166107a3be174df315d322841402c2');
INSERT INTO "calls" VALUES(4,'2806b722-0295-4ca7-a537-b68876575140','call-odd','Call of 2026-05-01T10:00:00.000Z','2026-05-01T10:00:00.000Z','2026-11-25T01:47:35.142Z','{"call_id":"call-odd","created_at":"2026-05-01T10:00:00.000Z","summary":null,"transcripts":[{"id":0,"user":"assistant","text":"hi"}],"concatenated_transcript":"assistant: hi","metadata":{"from":15550100,"completed":"yes"}}','[]',NULL,'38844361c9c83d9ce6a435df9eed9cf72209be1dd8929f5f35151493d75a8079');
CREATE TABLE categories (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	folded TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	UNIQUE (org_id, folded), 
	UNIQUE (org_id, id)
);
INSERT INTO "categories" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','aef179e1-0468-488d-80f7-2ae160de0195','Hold time','hold time','2026-05-06T21:09:57.083Z');
INSERT INTO "categories" VALUES(2,'2806b722-0295-4ca7-a537-b68876575140','92a3e398-c622-4495-b06b-77d54ecc5dc3','Billing','billing','2026-05-06T21:09:57.084Z');
CREATE TABLE client_keys (
	id TEXT NOT NULL, 
	org_id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	public_key TEXT NOT NULL, 
	PRIMARY KEY (id)
);
CREATE TABLE conversations (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	summary TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	record JSON NOT NULL, 
	digest TEXT NOT NULL, 
	UNIQUE (org_id, id)
);
CREATE TABLE flags (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	issue_id TEXT NOT NULL, 
	call_id TEXT NOT NULL, 
	type TEXT NOT NULL, 
	note TEXT NOT NULL, 
	node_id TEXT, 
	node_name TEXT, 
	message_index INTEGER, 
	message_text TEXT, 
	author_id TEXT NOT NULL, 
	created_at TEXT NOT NULL, 
	FOREIGN KEY(org_id, issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE, 
	UNIQUE (org_id, id)
);
INSERT INTO "flags" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','f024c4c3-f3f5-461c-8d95-5428957db8da','2097a23f-45dd-485b-b054-cb8b7f19b0e4','call-card','missed_handoff','n',NULL,NULL,3,NULL,'58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.088Z');
CREATE TABLE issues (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	number INTEGER NOT NULL, 
	title TEXT NOT NULL, 
	description TEXT NOT NULL, 
	status TEXT NOT NULL, 
	status_rank INTEGER NOT NULL, 
	severity TEXT NOT NULL, 
	severity_rank INTEGER NOT NULL, 
	source TEXT NOT NULL, 
	category TEXT NOT NULL, 
	category_folded TEXT NOT NULL, 
	owner_id TEXT, 
	assignee_id TEXT, 
	author_id TEXT NOT NULL, 
	agent_id TEXT, 
	agent_version_id TEXT, 
	created_at TEXT NOT NULL, 
	updated_at TEXT NOT NULL, 
	last_activity_at TEXT NOT NULL, 
	words TEXT NOT NULL, 
	UNIQUE (org_id, number), 
	UNIQUE (org_id, id)
);
INSERT INTO "issues" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','2097a23f-45dd-485b-b054-cb8b7f19b0e4',1001,'Debit card lost','Caller asked twice; agent said 100% sure.','todo',1,'low',0,'manual','Bug','bug',NULL,NULL,'58726309-c2b1-466c-9347-de04e5f22f22',NULL,NULL,'2026-05-06T21:09:57.082Z','2026-05-06T21:09:57.089Z','2026-05-06T21:09:57.090Z','debit card lost
caller asked twice; agent said 100% sure.');
INSERT INTO "issues" VALUES(2,'2806b722-0295-4ca7-a537-b68876575140','d4825aa0-2873-4447-9cce-c9061ef3bdec',1002,'Straße gesperrt','STRASSE und Ärger','closed',5,'high',2,'manual','Hold time','hold time',NULL,'u-1','58726309-c2b1-466c-9347-de04e5f22f22',NULL,NULL,'2026-05-06T21:09:57.083Z','2026-05-06T21:09:57.091Z','2026-05-06T21:09:57.091Z','strasse gesperrt
strasse und ärger');
INSERT INTO "issues" VALUES(3,'2806b722-0295-4ca7-a537-b68876575140','3ef7ca29-ba96-4ee7-87cd-0cb3c5dedfc6',1003,'退款 refund','客人要求退款','todo',1,'critical',3,'manual','Billing','billing',NULL,NULL,'58726309-c2b1-466c-9347-de04e5f22f22',NULL,NULL,'2026-05-06T21:09:57.084Z','2026-05-06T21:09:57.084Z','2026-05-06T21:09:57.084Z','退款 refund
客人要求退款');
INSERT INTO "issues" VALUES(4,'2806b722-0295-4ca7-a537-b68876575140','0d06647a-d21a-48d7-bb64-fd871f123c1c',1004,'Long hold','','todo',1,'medium',1,'manual','hold TIME','hold time',NULL,'u-1','58726309-c2b1-466c-9347-de04e5f22f22',NULL,NULL,'2026-05-06T21:09:57.085Z','2026-05-06T21:09:57.085Z','2026-05-06T21:09:57.085Z','long hold
');
CREATE TABLE organisations (
	id TEXT NOT NULL, 
	name TEXT NOT NULL, 
	last_number INTEGER NOT NULL, 
	created_at TEXT NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "organisations" VALUES('2806b722-0295-4ca7-a537-b68876575140','Embedded desk',1004,'2026-11-25T01:47:35.123Z');
INSERT INTO "organisations" VALUES('5acf98ba-0a34-4859-ab04-3e07fbb9a12a','Other',1000,'2026-11-25T01:47:35.378Z');
CREATE TABLE relations (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	issue_id TEXT NOT NULL, 
	related_issue_id TEXT NOT NULL, 
	relation_type TEXT NOT NULL, 
	created_by_id TEXT, 
	created_at TEXT NOT NULL, 
	UNIQUE (org_id, issue_id, related_issue_id, relation_type), 
	FOREIGN KEY(org_id, issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE, 
	FOREIGN KEY(org_id, related_issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE, 
	UNIQUE (org_id, id)
);
INSERT INTO "relations" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','65e8fb02-0dc6-4054-ba3b-8d3875a267e9','2097a23f-45dd-485b-b054-cb8b7f19b0e4','d4825aa0-2873-4447-9cce-c9061ef3bdec','blocks','58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.089Z');
CREATE TABLE reservations (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	object_key TEXT NOT NULL, 
	allowed_types JSON NOT NULL, 
	expires_at INTEGER NOT NULL, 
	blob TEXT, 
	size INTEGER, 
	type TEXT, 
	sha256 TEXT, 
	md5 TEXT, 
	consumed_by TEXT, 
	UNIQUE (org_id, id), 
	UNIQUE (object_key)
);
CREATE TABLE resource_links (
	seq INTEGER NOT NULL PRIMARY KEY AUTOINCREMENT, 
	org_id TEXT NOT NULL, 
	id TEXT NOT NULL, 
	issue_id TEXT NOT NULL, 
	resource_type TEXT NOT NULL, 
	resource_id TEXT NOT NULL, 
	title TEXT NOT NULL, 
	metadata JSON, 
	attached_by_id TEXT, 
	created_at TEXT NOT NULL, 
	UNIQUE (org_id, issue_id, resource_type, resource_id), 
	FOREIGN KEY(org_id, issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE, 
	UNIQUE (org_id, id)
);
INSERT INTO "resource_links" VALUES(1,'2806b722-0295-4ca7-a537-b68876575140','6f772ac6-0e52-4129-ad50-d4491ad3b470','2097a23f-45dd-485b-b054-cb8b7f19b0e4','call','call-card','Caller lost a debit card and asked for a new one.','{"created_at":"2026-05-01T10:00:00.000Z"}','58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.086Z');
INSERT INTO "resource_links" VALUES(2,'2806b722-0295-4ca7-a537-b68876575140','4cfc609a-8736-4f24-b0d1-02443ad761e3','d4825aa0-2873-4447-9cce-c9061ef3bdec','call','call-card','Caller lost a debit card and asked for a new one.','{"created_at":"2026-05-01T10:00:00.000Z"}','58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.087Z');
CREATE TABLE settings (
	name TEXT NOT NULL, 
	value TEXT NOT NULL, 
	PRIMARY KEY (name)
);
INSERT INTO "settings" VALUES('schema_version','1');
INSERT INTO "settings" VALUES('secret','21dfd42d93776b1ad78bdcba43da2d2c47be70a649d19164c717632740626d6e');
INSERT INTO "settings" VALUES('org_id','2806b722-0295-4ca7-a537-b68876575140');
INSERT INTO "settings" VALUES('user_id','58726309-c2b1-466c-9347-de04e5f22f22');
CREATE TABLE views (
	org_id TEXT NOT NULL, 
	issue_id TEXT NOT NULL, 
	user_id TEXT NOT NULL, 
	viewed_at TEXT NOT NULL, 
	PRIMARY KEY (org_id, issue_id, user_id), 
	FOREIGN KEY(org_id, issue_id) REFERENCES issues (org_id, id) ON DELETE CASCADE
);
INSERT INTO "views" VALUES('2806b722-0295-4ca7-a537-b68876575140','2097a23f-45dd-485b-b054-cb8b7f19b0e4','58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.082Z');
INSERT INTO "views" VALUES('2806b722-0295-4ca7-a537-b68876575140','d4825aa0-2873-4447-9cce-c9061ef3bdec','58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.083Z');
INSERT INTO "views" VALUES('2806b722-0295-4ca7-a537-b68876575140','3ef7ca29-ba96-4ee7-87cd-0cb3c5dedfc6','58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.084Z');
INSERT INTO "views" VALUES('2806b722-0295-4ca7-a537-b68876575140','0d06647a-d21a-48d7-bb64-fd871f123c1c','58726309-c2b1-466c-9347-de04e5f22f22','2026-05-06T21:09:57.085Z');
CREATE INDEX issues_by_creation ON issues (org_id, created_at, id);
CREATE INDEX issues_by_activity ON issues (org_id, last_activity_at, id);
CREATE INDEX issues_by_severity ON issues (org_id, severity_rank, id);
CREATE INDEX issues_by_status ON issues (org_id, status_rank, id);
CREATE INDEX calls_by_creation ON calls (org_id, created_at, id);
CREATE INDEX conversations_by_creation ON conversations (org_id, created_at, id);
CREATE INDEX reservations_by_blob ON reservations (blob);
CREATE INDEX reservations_by_end ON reservations (expires_at);
CREATE INDEX attachments_by_blob ON attachments (blob);
CREATE INDEX attachments_by_creation ON attachments (org_id, created_at, id);
CREATE INDEX links_of_issue ON resource_links (org_id, issue_id, seq);
CREATE INDEX flags_by_type ON flags (org_id, type, seq);
CREATE INDEX flags_of_issue ON flags (org_id, issue_id, seq);
CREATE INDEX relations_of_target ON relations (org_id, related_issue_id, seq);
CREATE INDEX sessions_of_issue ON agent_sessions (org_id, issue_id, seq);
CREATE INDEX runs_of_issue ON agent_runs (org_id, issue_id, seq);
CREATE INDEX activity_of_issue ON activity (org_id, issue_id, created_at, seq);
CREATE INDEX attachments_by_label ON attachment_labels (org_id, name, value);
DELETE FROM "sqlite_sequence";
INSERT INTO "sqlite_sequence" VALUES('calls',4);
INSERT INTO "sqlite_sequence" VALUES('issues',4);
INSERT INTO "sqlite_sequence" VALUES('activity',15);
INSERT INTO "sqlite_sequence" VALUES('categories',2);
INSERT INTO "sqlite_sequence" VALUES('resource_links',2);
INSERT INTO "sqlite_sequence" VALUES('flags',1);
INSERT INTO "sqlite_sequence" VALUES('relations',1);
INSERT INTO "sqlite_sequence" VALUES('agent_sessions',1);
INSERT INTO "sqlite_sequence" VALUES('agent_runs',1);
COMMIT;
