package publish_test

import (
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	awsconfig "github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/seed-6db18919/ingot/builder/ec2/publish"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/chain"
	"github.com/seed-6db18919/ingot/builder/ec2/publish/publishtest"
)

// Behind a proxy that looks into TLS, AWS_CA_BUNDLE says whom to trust.
func TestCertificatesOfTheEnvironmentAreTrusted(t *testing.T) {
	service := &publishtest.Service{}
	server := httptest.NewTLSServer(service)
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(bundle, text, 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_CA_BUNDLE", bundle)
	cfg, err := awsconfig.LoadDefaultConfig(t.Context(), awsconfig.WithRegion(region),
		awsconfig.WithCredentialsProvider(credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", "")))
	if err != nil {
		t.Fatal(err)
	}
	cfg.BaseEndpoint = aws.String(server.URL)
	disk, err := chain.Open(t.Context(), someDisk(t))
	if err != nil {
		t.Fatal(err)
	}
	defer disk.Close()
	s, err := publish.Upload(t.Context(), publish.NewBlocks(cfg, 0), disk, publish.Options{Key: "k", Dir: t.TempDir(), Snapshots: service})
	if err != nil || s.Written != 21 {
		t.Errorf("%+v (%v), want 21 blocks written to a server whose certificate the environment trusts", s, err)
	}
}
