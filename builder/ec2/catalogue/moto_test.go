package catalogue

import (
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ssm"

	"github.com/seed-6db18919/ingot/builder"
	"github.com/seed-6db18919/ingot/internal/mototest"
)

// TestAgainstMoto resolves what moto knows: the public parameters of Amazon Linux,
// with the images behind them, which it has from AWS itself, region by region; and
// images of other vendors, of a few years ago.
func TestAgainstMoto(t *testing.T) {
	moto, err := mototest.Start(mototest.Need(t))
	if err != nil {
		t.Fatal(err)
	}
	defer moto.Stop()
	in := func(region string) *Catalogue {
		cfg := aws.Config{Region: region, BaseEndpoint: &moto.URL, Credentials: credentials.NewStaticCredentialsProvider("test", "test", "")}
		return &Catalogue{Images: ec2.NewFromConfig(cfg), Parameters: ssm.NewFromConfig(cfg)}
	}
	for _, region := range []string{"us-east-1", "eu-west-1", "eu-central-1", "eu-south-1", "af-south-1", "me-central-1"} {
		for _, name := range []string{"amazon-linux-2", "amazon-linux-2023"} {
			for _, arch := range []string{X8664, ARM64} {
				got, err := in(region).Resolve(t.Context(), name, arch)
				if err != nil || got.Architecture != arch || got.RootDevice != "/dev/xvda" || len(got.Volumes) == 0 || got.Volumes[0].GiB == 0 || got.Volumes[0].Type == "" {
					t.Errorf("%s %s %s: %+v, %v", region, name, arch, got, err)
					continue
				}
				if revision, err := in(region).Revision(t.Context(), name, arch); err != nil || revision != got.ID {
					t.Errorf("%s %s %s: revision %s, %v", region, name, arch, revision, err)
				}
				if byID, err := in(region).Resolve(t.Context(), got.ID, arch); err != nil || byID.Name != got.Name {
					t.Errorf("%s %s: %+v, %v", region, got.ID, byID, err)
				}
			}
		}
	}
	c := in("us-east-1")
	if got, err := c.Resolve(t.Context(), "ubuntu-16.04", ""); err != nil || got.Name != "ubuntu/images/hvm-ssd/ubuntu-xenial-16.04-amd64-server-20170721" || got.Owner != "099720109477" {
		t.Errorf("ubuntu-16.04: %+v, %v", got, err)
	}
	for _, text := range []string{"debian-12", "ami-0123456789abcdef0", "ssm:/not/there", "windows-2012-r2"} {
		if got, err := c.Resolve(t.Context(), text, ""); fault(err) != builder.Author {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
}
